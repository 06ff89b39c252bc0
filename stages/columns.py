"""Every column once: name, Arrow type, grain, unit and meaning. Tables are lists of these names.

A box is x0, y0, x1, y1 with the origin top left. Boxes of words and entities are integers 0–1000 of the page as a
person sees it (after rotation and cropping), ``int(1000 * x / width)`` clamped; boxes of objects in images are pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from stages.examples import ENCODED

SCHEMA_VERSION = 1
"""Raised when a written column changes its type or meaning; part of every fingerprint."""

BOX = pa.list_(pa.int16())
SCORED_LABEL = pa.struct([("label", pa.string()), ("score", pa.float32())])
ENTITY = pa.struct(
    [
        ("text", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("word_start", pa.int32()),
        ("word_end", pa.int32()),
        ("box", BOX),
    ],
)
SEQUENCE = pa.struct([("text", pa.string()), ("score", pa.float32())])
HIT = pa.struct([("uri", pa.string()), ("text", pa.string()), ("score", pa.float32())])
PICTURE = pa.struct(
    [
        ("pixels", pa.binary()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("image_height", pa.int32()),
        ("image_width", pa.int32()),
    ],
)
SOUND = pa.struct([("samples", pa.binary()), ("rate", pa.int32())])
CLIPS = pa.struct(
    [("frames", pa.binary()), *((name, pa.int32()) for name in ("clips", "count", "height", "width"))],
)
WORD_TIME = pa.struct(
    [("text", pa.string()), ("start", pa.float32()), ("end", pa.float32()), ("score", pa.float32())],
)
OBJECT = pa.struct([("label", pa.string()), ("score", pa.float32()), ("box", pa.list_(pa.int32()))])
FILL = pa.struct([("token", pa.string()), ("score", pa.float32()), ("text", pa.string())])
FAILURE = pa.struct(
    [
        ("stage", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
        ("detail", pa.string()),
        ("attempts", pa.int32()),
    ],
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table, on disk or between stages."""

    name: str
    type: pa.DataType
    grain: str
    """What one value belongs to: document, page, record (a result row) or run."""
    meaning: str
    unit: str = ""

    @property
    def field(self) -> pa.Field:
        """The Arrow field, with the meaning and unit as metadata."""
        about = {"meaning": self.meaning, "unit": self.unit, "grain": self.grain}
        return pa.field(self.name, self.type, metadata={k: v for k, v in about.items() if v})


def _columns() -> Iterable[Column]:  # noqa: PLR0915 - a table, one statement a row
    def column(name: str, type_: pa.DataType, grain: str, meaning: str, unit: str = "") -> Column:
        return Column(name=name, type=type_, grain=grain, meaning=meaning, unit=unit)

    text, count = pa.string(), pa.int32()
    # Where a row comes from
    yield column("uri", text, "document", "where the document was listed, or the table row's own uri")
    yield column("source", text, "document", "the listed version: etag, or size and modification time")
    yield column("size", pa.int64(), "document", "listed size", "bytes")
    yield column("kind", text, "document", "pdf, image, table, audio or video, by suffix and confirmed by content")
    yield column("doc_id", text, "document", "sha256 of the content, hexadecimal")
    yield column("pages", count, "document", "number of pages (rows, for a table)")
    yield column("page", count, "page", "page number from 1; 1 where there are no pages; null for a whole document")
    yield column("record", pa.int64(), "record", "ordinal of the row in a table or of the question on a page, from 0")
    # What reading a page gives
    yield column("width", pa.float32(), "page", "page width as seen", "points; pixels for images")
    yield column("height", pa.float32(), "page", "page height as seen", "points; pixels for images")
    yield column("words", pa.list_(text), "page", "words in reading order")
    yield column("boxes", pa.list_(BOX), "page", "one box a word", "1/1000 of the page")
    yield column("text", text, "page", "the words in reading order, lines kept; or a table's text")
    yield column("reader", text, "page", "what read the page: layer or ocr, and the engine, as in ocr:tesserocr")
    yield column("image", pa.binary(), "page", "an image file, or the path of one, from its table's folder on")
    yield column("pixels", pa.binary(), "page", "the page in the size that the task asks for: RGB, rows first", "uint8")
    # What a table may carry for a task to read
    yield column("query_image", pa.binary(), "record", "an image of what is looked for: a file, or the path of one")
    yield column("audio", pa.binary(), "record", "a recording: a file, or the path of one, from its table's folder on")
    yield column("video", pa.binary(), "record", "a video: a file, or the path of one, from its table's folder on")
    yield column("candidate_labels", pa.list_(text), "record", "labels to choose from, in any words")
    yield column("question", text, "record", "the question asked")
    yield column("text_pair", text, "record", "the second text of a pair")
    yield column("choices", pa.list_(text), "record", "the endings to choose from")
    yield column("candidates", pa.list_(text), "record", "texts that may be evidence for the text")
    yield column("relevance", pa.list_(pa.float32()), "record", "how relevant each candidate is, before any softmax")
    spans = pa.list_(pa.list_(count))
    yield column("entity_spans", spans, "record", "entities in the text: first character and the one after the last")
    yield column("entity_names", pa.list_(text), "record", "their titles in the entity vocabulary; [MASK] for unknown")
    yield column("labels", pa.list_(text), "record", "gold word labels, for training and scoring")
    yield column("answers", pa.list_(text), "record", "gold answers, any of which is right, for training and scoring")
    yield column("answer_starts", pa.list_(count), "record", "first character of each gold answer in the text")
    # What tasks answer
    yield column("label", text, "record", "the best label; null where the checkpoint predicts a number")
    yield column("score", pa.float32(), "record", "probability of the answer, or the number that a regression predicts")
    yield column("scores", pa.list_(SCORED_LABEL), "record", "every label with its score, highest first")
    yield column("word_labels", pa.list_(text), "record", "one label a word")
    yield column("word_scores", pa.list_(pa.float32()), "record", "probability of each word's label")
    yield column("entities", pa.list_(ENTITY), "record", "entities; word_end is exclusive, boxes enclose the words")
    yield column("answer", text, "record", "the answer's text; empty where there is none")
    yield column("start", count, "record", "first word of the answer on the page, or first character in the text")
    yield column("end", count, "record", "last word of the answer, inclusive, or the character after the last")
    yield column("fills", pa.list_(pa.list_(FILL)), "record", "one list of fills a mask, most probable first")
    yield column("vector", pa.list_(pa.float32()), "record", "the pooled embedding")
    yield column("text_vector", pa.list_(pa.float32()), "record", "the embedding of the text of a row with an image")
    yield column("vectors", pa.list_(pa.list_(pa.float32())), "record", "one embedding a token, where asked for")
    yield column("question_vector", pa.list_(pa.float32()), "record", "the question's embedding, to search with")
    yield column("passages", pa.list_(text), "record", "the text in parts that the encoder takes")
    yield column("passage_vectors", pa.list_(pa.list_(pa.float32())), "record", "one embedding a passage")
    yield column("hits", pa.list_(HIT), "record", "passages that fit the question best, the best first")
    yield column("evidence", text, "record", "the block of text that the answer stands in")
    yield column("entity_vectors", pa.list_(pa.list_(pa.float32())), "record", "one embedding an entity of the text")
    yield column("entity_fills", pa.list_(pa.list_(FILL)), "record", "titles for each [MASK] entity, likeliest first")
    yield column("next_sentence", pa.bool_(), "record", "whether the second text follows the first")
    yield column("choice", count, "record", "which of the choices fits best, from 0")
    yield column("generated_text", text, "record", "the text and its continuation")
    yield column("translation", text, "record", "the text in another language; in a training table, the right one")
    yield column("sequences", pa.list_(SEQUENCE), "record", "every text written, where several were asked for")
    yield column("perplexity", pa.float32(), "record", "exp of the mean negative log likelihood of the text's tokens")
    yield column("objects", pa.list_(OBJECT), "record", "what was found, most probable first", "boxes in pixels")
    yield column("depth_png", pa.binary(), "record", "grey PNG at the image's size", "0 depth_min to 65535 depth_max")
    yield column("depth_min", pa.float32(), "record", "depth where depth_png is 0", "metres, or the checkpoint's own")
    yield column("depth_max", pa.float32(), "record", "depth where it is 65535", "metres, or the checkpoint's own")
    yield column("word_times", pa.list_(WORD_TIME), "record", "each word that was heard, and when", "seconds")
    # What every answer is signed with
    yield column("status", text, "document", "ok, partial (some pages failed) or failed")
    yield column("read_fingerprint", text, "run", "hash of text mode, render and OCR settings, engine versions")
    yield column("checkpoint", text, "run", "the checkpoint as it was named; an alias as the version it stood for")
    yield column("fingerprint", text, "run", "hash of the read fingerprint, checkpoint content, task options and dtype")
    yield column("run_id", text, "run", "the MLflow run, also the name of the run record")
    yield column("at", pa.timestamp("us", tz="UTC"), "run", "when the row was written")
    # What an error row tells
    yield column("stage", text, "record", "the stage that failed")
    yield column("code", text, "record", "category of the failure; see stages/errors.py")
    yield column("message", text, "record", "one line for a person")
    yield column("detail", text, "record", "what a developer needs")
    yield column("attempts", count, "record", "how often the row was tried")
    # Columns that only travel between stages
    yield column("done", pa.list_(count), "document", "pages that an earlier run finished")
    yield column("part", text, "page", "name of the committed Parquet part that holds the row, as in results/….parquet")
    yield column("rows", pa.list_(count), "page", "indices of the wanted rows in a part, from 0")
    yield column("ok", pa.bool_(), "record", "whether the row is a result; false where it went to the error table")
    looked = "an image as the model looks at it: RGB, rows first, its size, and that of the image"
    yield column("picture", PICTURE, "page", looked, "uint8; pixels")
    yield column("query_picture", PICTURE, "record", "the image of what is looked for, likewise", "uint8; pixels")
    yield column(
        "sound", SOUND, "record", "a recording as the model takes it: mono float32 samples", "samples a second"
    )
    yield column("clips", CLIPS, "record", "a video's clips, each of count frames: RGB, clip by clip", "uint8; pixels")
    yield column("encoded", ENCODED, "record", "the row's examples between the halves of Predictor")
    yield column("failure", FAILURE, "record", "set once a stage failed on the row; later stages pass it by")


COLUMNS: dict[str, Column] = {column.name: column for column in _columns()}

FOUND_AS = {"entity_names": "entities"}
"""What tables call a column whose usual name means something else in answers."""

MADE_OF = {"words": "image", "boxes": "image", "pixels": "image"}
"""Columns that a table need not have where it has the other one: stages/draw.py makes them of it."""

SENSED = {"picture": "image", "query_picture": "query_image", "sound": "audio", "clips": "video"}
"""Columns that only travel between stages, and what of a table they are made of (stages/sensing.py)."""


def carried(name: str) -> str:
    """The column of a table that a task's column is made of: its own, or that of the file it is seen or heard in."""
    return MADE_OF[name] if name == "pixels" else SENSED.get(name, name)


PAGES = (
    "uri", "source", "doc_id", "page", "pages", "width", "height", "words", "boxes", "text", "reader",
    "read_fingerprint", "run_id", "at",
)  # fmt: skip
RESULT_HEAD = ("uri", "source", "doc_id", "page", "pages", "record")
RESULT_TAIL = ("checkpoint", "fingerprint", "run_id", "at")
DOCUMENT_HEAD = ("uri", "source", "doc_id", "pages", "record", "status")
DOCUMENT_TAIL = ("fingerprint", "run_id", "at")
ERRORS = (
    "uri", "source", "doc_id", "page", "record", "stage", "code", "message", "detail", "attempts",
    "fingerprint", "run_id", "at",
)  # fmt: skip


def schema(names: Iterable[str]) -> pa.Schema:
    """The Arrow schema of the columns ``names``, in that order. Raises KeyError for a name that is not declared."""
    return pa.schema([COLUMNS[name].field for name in names])


def results_schema(answers: Iterable[str]) -> pa.Schema:
    """The schema of ``results/`` for a task that answers with the columns ``answers``."""
    return schema((*RESULT_HEAD, *answers, *RESULT_TAIL))


def documents_schema(answers: Iterable[str]) -> pa.Schema:
    """The schema of ``documents/`` for a task whose combined columns are ``answers``."""
    return schema((*DOCUMENT_HEAD, *answers, *DOCUMENT_TAIL))
