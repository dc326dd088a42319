"""Predictions on disk, in SQLite.

history      PredictionStore: what everybody else uses
schema       tables, indices, and what makes an older file a current one
connections  the writer, the readers, and what happens to a damaged file
damage       what is no database, and where it is put
commits      one transaction for all who append at once
rollup       counts per hour and bounds per 256 ids, kept beside the rows
query        which predictions, as SQL
summary      how many of which label, per interval
retention    what is deleted, and when
"""

from appliance.store.history import PredictionStore, StoreCounts, StoreStatistics
from appliance.store.query import PredictionQuery
from appliance.store.summary import LabelCount, Summary, SummaryQuery

__all__ = [
    "LabelCount", "PredictionQuery", "PredictionStore", "StoreCounts", "StoreStatistics",
    "Summary", "SummaryQuery",
]  # fmt: skip
