"""How much a request may hold: what each number bounds stands beside it."""

MAX_K = 1000  # places of a list
MAX_EXPLAINED = 50  # places of a list with reasons
MAX_EVENTS = 1000  # of one request
MAX_LISTED = 10_000  # ids that are allowed or denied, per domain; values of a column
MAX_PATCHED = 1000  # items of one request
MAX_BATCH = 64  # lists per request
MAX_PAGE = 16  # lists of a page, which are made one after the other
MAX_NAMED = 64  # domains or columns
MAX_RULE = 10_000  # characters of a rule
MAX_TEXT = 512  # characters of an id or a name
INT64 = 1 << 63
