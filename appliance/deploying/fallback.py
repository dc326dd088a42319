"""Which version answers in place of one that failed its probation: pure."""

from collections.abc import Sequence

from appliance.deploying.stages import Deploy


def candidates(bad: Deploy, kept: Sequence[str], history: Sequence[Deploy]) -> tuple[str, ...]:
    """List versions to go back to, the best first.

    kept: versions on disk, the one put in front last comes first.   history: the app's deploys,
    the newest first.   Returns: the version that answered before, then the others; none that
    failed a probation of its own and was not deployed again since.
    """
    latest: dict[str, Deploy] = {}
    for deploy in history:
        latest.setdefault(deploy.version, deploy)
    refused = {bad.version} | {v for v, deploy in latest.items() if deploy.probation.is_bad}
    order = sorted(kept, key=lambda version: version != bad.before)
    return tuple(version for version in order if version not in refused)
