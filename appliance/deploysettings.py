"""The operator's `[deploy]` table: how a new version is watched, and how many are kept."""

from pydantic import Field

from appliance.tables import Table


class DeploySettings(Table):
    """How apps are changed.

    probation_frames: the first frames of a new version, which decide whether it stays; 0: none.
    kept_versions: on disk, the one that answers among them, so that there is one to go back to.
    """

    probation_frames: int = Field(10, ge=0, le=1000)
    kept_versions: int = Field(3, ge=2, le=100)
