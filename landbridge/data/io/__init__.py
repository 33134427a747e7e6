"""Reading event tables from files and frames: formats, columns, id encoding, user linking."""
