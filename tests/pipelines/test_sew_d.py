"""Long recordings in overlapping chunks, as transformers' pipeline cuts and joins them; what is too short."""

from __future__ import annotations

import numpy as np
import pytest
from references_audio import recognition, samples_of

from pipelines import Checkpoint, task
from pipelines.contract.rows import sound
from pipelines.contract.same import same
from pipelines.tasks.hearing import chunks
from stages.errors import Code, Failure, UsageError
from stages.predict import Predictor
from stages.settings import Predict

SETTINGS = Predict(dtype="float32", device="cpu")


def row_of(*counts: int) -> dict:
    joined = np.concatenate([samples_of({"sound": sound(None, count)}) for count in counts])
    return {"sound": {"samples": joined.tobytes(), "rate": 8000}, "uri": "a", "source": "1", "page": 1, "record": 0}


def predicted(folder, name: str, rows, **options):
    kind = task("sew_d", name)
    made = kind(Checkpoint(ref="tiny", path=str(folder), content="0"), kind.options_type(**options))
    return Predictor(made, SETTINGS).open().predict(rows)


@pytest.mark.parametrize("chunk_s", [0.5, 0.9])
def test_chunks_are_joined_as_transformers_joins_them(tiny, chunk_s):
    folder = tiny("sew_d", "automatic-speech-recognition")
    rows = [row_of(110, 60, 25), row_of(9, 3, 60), row_of(3)]
    ours = predicted(folder, "automatic-speech-recognition", rows, chunk_s=chunk_s)
    theirs = recognition(folder, rows, chunk_s=chunk_s)
    for one, other in zip(ours, theirs, strict=True):
        assert one["text"] == other["text"]
        same(
            [{name: word[name] for name in ("text", "start", "end")} for word in one["word_times"]], other["word_times"]
        )
    whole = predicted(folder, "automatic-speech-recognition", rows, chunk_s=0)
    assert whole[2] == ours[2]


def test_every_sample_is_in_one_chunk_but_for_the_strides():
    for length in (1, 99, 100, 101, 160, 161, 1000):
        cut = list(chunks(length, 100, 20))
        kept = [n for start, end, left, right in cut for n in range(start + left, end - right)]
        assert kept == list(range(length))
    assert list(chunks(5000, 0, 20)) == [(0, 5000, 0, 0)]


def test_features_of_chunks_are_as_many_as_of_the_whole(tiny):
    folder = tiny("sew_d", "features")
    row = row_of(110, 60)
    (whole,) = predicted(folder, "features", [row], chunk_s=0, vectors=True)
    (cut,) = predicted(folder, "features", [row], chunk_s=0.6, vectors=True)
    assert abs(len(whole["vectors"]) - len(cut["vectors"])) <= 2
    same(whole["vector"], np.mean(whole["vectors"], axis=0).tolist())


def test_what_is_too_short_or_wrong_fails_alone(tiny):
    folder = tiny("sew_d", "audio-classification")
    short = {**row_of(3), "sound": {"samples": np.zeros(50, np.float32).tobytes(), "rate": 8000}}
    other = {**row_of(3), "sound": {"samples": np.zeros(9000, np.float32).tobytes(), "rate": 16_000}}
    good, *bad = predicted(folder, "audio-classification", [row_of(3), short, other])
    assert good["label"]
    assert all(isinstance(one, Failure) and one.code is Code.ENCODE_FAILED for one in bad)
    with pytest.raises(UsageError, match=r"task\.stride_s must be less than half"):
        task("sew_d", "features").options_type(chunk_s=2, stride_s=1)
