"""Settings of combinations: what to say where one speaks of a term that is not there."""

from __future__ import annotations

from collections.abc import Sequence

from segtrain.checks import did_you_mean

PLACE = "loss.terms."


def unknown_term(key: str, keys: Sequence[str]) -> str:
    """What is wrong with a setting of a term that is not there; nothing for other settings.

    Args:
        key: as typed, such as loss.weights.dic.
        keys: of the configuration.
    """
    group, _, rest = key.removeprefix("loss.").partition(".")
    term = rest.partition(".")[0]
    known = [name.removeprefix(PLACE) for name in keys if name.startswith(PLACE) and name.count(".") == 2]
    if not key.startswith("loss.") or group not in ("terms", "weights", "ramps") or not term or term in known:
        return ""
    if not known:
        return f"this loss is no combination, so it has no {group}; begin with one, as loss=dice_ce"
    return f"there is no term {term}{did_you_mean(term, known)}; add one as +loss@loss.terms.{term}=focal"
