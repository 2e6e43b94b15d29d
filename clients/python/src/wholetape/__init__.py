"""wholetape's client: every message once, in order, or the exact range that was missed."""

from ._book import Book, ChecksumError
from ._client import Client
from ._frames import records, to_pandas, to_polars
from ._words import (
    Cursor,
    Event,
    From,
    Full,
    Malformed,
    Message,
    Missed,
    NoCredit,
    Notice,
    Published,
    Rows,
    ServerError,
    State,
    TopicState,
    Unpublished,
)

__version__ = "0.1.0"

__all__ = [
    "Book", "ChecksumError", "Client", "Cursor", "Event", "From", "Full", "Malformed", "Message", "Missed", "NoCredit", "Notice", "Published",
    "Rows", "ServerError", "State", "TopicState", "Unpublished", "records", "to_pandas", "to_polars",
]
