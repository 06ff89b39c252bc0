"""Error rates of texts: what is wrong, missing or too many, over what there should be (jiwer)."""

from __future__ import annotations

from collections.abc import Sequence


def error_rates(right: Sequence[str], ours: Sequence[str]) -> dict[str, float]:
    """``wer`` over words and ``cer`` over characters, of all texts together; 0 is best, above 1 is possible."""
    import jiwer

    return {"wer": float(jiwer.wer(list(right), list(ours))), "cer": float(jiwer.cer(list(right), list(ours)))}
