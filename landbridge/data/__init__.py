"""From events to :class:`MultiDomain`, and from there to splits."""
