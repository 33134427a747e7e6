"""The bodies of the HTTP interface, bounded in every direction, and what the answers look like.

Bodies are validated. Answers are only documented by their models: they are written straight from the
values of :mod:`landbridge.serving.engine.messages`.
"""

from landbridge.serving.http.schemas.answers import (
    BatchAnswer,
    ExplainAnswer,
    Items,
    PageAnswer,
    Problem,
    RecommendAnswer,
    ValuesAnswer,
)
from landbridge.serving.http.schemas.bounds import MAX_EXPLAINED, MAX_K, MAX_NAMED, MAX_RULE, MAX_TEXT
from landbridge.serving.http.schemas.events import EventBody, EventsBody, UserEventBody
from landbridge.serving.http.schemas.fields import Strategy, check_depth, is_condition
from landbridge.serving.http.schemas.items import ItemBody, ItemsBody
from landbridge.serving.http.schemas.lists import BatchBody, ExplainBody, PageBody, RecommendBody, SimilarBody
from landbridge.serving.http.schemas.receipts import Deleted, Forgotten, Patched, Stored
from landbridge.serving.http.schemas.state import Alive, ModelAnswer, Ready

__all__ = [
    "MAX_EXPLAINED",
    "MAX_K",
    "MAX_NAMED",
    "MAX_RULE",
    "MAX_TEXT",
    "Alive",
    "BatchAnswer",
    "BatchBody",
    "Deleted",
    "EventBody",
    "EventsBody",
    "ExplainAnswer",
    "ExplainBody",
    "Forgotten",
    "ItemBody",
    "Items",
    "ItemsBody",
    "ModelAnswer",
    "PageAnswer",
    "PageBody",
    "Patched",
    "Problem",
    "Ready",
    "RecommendAnswer",
    "RecommendBody",
    "SimilarBody",
    "Stored",
    "Strategy",
    "UserEventBody",
    "ValuesAnswer",
    "check_depth",
    "is_condition",
]
