"""Other protocols, with their real clients; streams; what an endpoint tells of itself."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import openai
import pytest
import requests
import tritonclient.http as triton
from PIL import Image
from tritonclient.utils import InferenceServerException

from pipelines import families, family
from tests import corpus
from tests.jobs.serving.alike import plain, same
from tests.jobs.serving.media import image, recording

TEXTS = ["A fine day.", "The invoice of March is due; pay the total amount by Friday, please.", "no"]


@pytest.fixture
def client(endpoint):
    with openai.OpenAI(base_url=f"{endpoint.url}/v1", api_key=endpoint.key, max_retries=0) as client:
        yield client


def test_openai_embeds(endpoint, client):
    rows = endpoint.post("/v1/bert/features", json={"rows": [{"text": text} for text in TEXTS]}).json()["rows"]
    for form in (openai.NOT_GIVEN, "float"):
        answer = client.embeddings.create(model="bert-features", input=TEXTS, encoding_format=form)
        assert [one.index for one in answer.data] == [0, 1, 2]
        for one, row in zip(answer.data, rows, strict=True):
            assert np.allclose(one.embedding, row["vector"], atol=1e-6)
        assert answer.usage.total_tokens > 10
    alone = client.embeddings.create(model="bert-features", input=TEXTS[0])
    assert np.allclose(alone.data[0].embedding, rows[0]["vector"], atol=1e-5)
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.embeddings.create(model="gpt", input="x")
    with pytest.raises(openai.BadRequestError, match="answers text-classification"):
        client.embeddings.create(model="bert-text-classification", input="x")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").embeddings.create(model="bert-features", input="x")


def test_openai_embeds_with_any_family_that_makes_vectors_of_texts(endpoint, client):
    for name in ("clip", "retribert", "luke"):
        [row] = endpoint.post(f"/v1/{name}/features", json={"rows": [{"text": TEXTS[0]}]}).json()["rows"]
        answer = client.embeddings.create(model=f"{name}-features", input=TEXTS[0])
        assert np.allclose(answer.data[0].embedding, row["vector"], atol=1e-5)
    with pytest.raises(openai.BadRequestError, match="answers features: it makes no vector of text"):
        client.embeddings.create(model="layoutlm-features", input="x")


@pytest.mark.parametrize("model", ["sew_d-automatic-speech-recognition", "speech_encoder_decoder-speech-to-text"])
def test_openai_transcribes(endpoint, client, model):
    family_name, _, task = model.partition("-")
    files = {"file": ("a.wav", recording(9))}
    [row] = endpoint.post(f"/v1/{family_name}/{task}", files=files).json()["rows"]
    assert row["text"]
    assert client.audio.transcriptions.create(model=model, file=files["file"]).text == row["text"]
    plain = client.audio.transcriptions.create(model=model, file=files["file"], response_format="text", temperature=0)
    assert plain == row["text"] + "\n"


def test_openai_is_told_what_cannot_be_heard(client):
    model, file = "sew_d-automatic-speech-recognition", ("a.wav", recording(9))
    with pytest.raises(openai.UnprocessableEntityError) as error:
        client.audio.transcriptions.create(model=model, file=("a.wav", b"no sound at all"))
    assert error.value.code == "corrupt"
    for asked in ({"response_format": "srt"}, {"language": "fr"}, {"timestamp_granularities": ["word"]}):
        with pytest.raises(openai.BadRequestError, match=next(iter(asked))):
            client.audio.transcriptions.create(model=model, file=file, **asked)
    with pytest.raises(openai.BadRequestError, match="answers audio-classification"):
        client.audio.transcriptions.create(model="sew_d-audio-classification", file=file)


def test_openai_lists_models(client):
    names = {model.id for model in client.models.list()}
    assert names == {f"{name}-{task.name}" for name in families() for task in family(name).tasks}


@pytest.mark.parametrize("binary", [True, False])
def test_triton_infers(endpoint, binary):
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    client = triton.InferenceServerClient(endpoint.url.removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("bert-text-classification", headers=headers)
        metadata = client.get_model_metadata("bert-text-classification", headers=headers)
        assert [one["name"] for one in metadata["inputs"]] == ["text", "text_pair"]
        text = triton.InferInput("text", [len(TEXTS)], "BYTES")
        text.set_data_from_numpy(np.array([one.encode() for one in TEXTS], object), binary_data=binary)
        answer = client.infer("bert-text-classification", [text], headers=headers)
        wanted = endpoint.post(
            "/v1/bert/text-classification", json={"rows": [{"text": text} for text in TEXTS]}
        ).json()["rows"]
        assert [one.decode() if isinstance(one, bytes) else one for one in answer.as_numpy("label")] == [
            row["label"] for row in wanted
        ]
        assert np.allclose(answer.as_numpy("score"), [row["score"] for row in wanted], atol=1e-5)
        assert json.loads(answer.as_numpy("scores")[0])[0].keys() == {"label", "score"}
        vectors = client.infer(
            "bert-features", [text], headers=headers, outputs=[triton.InferRequestedOutput("vector")]
        )
        assert vectors.as_numpy("vector").shape == (3, 32)
        with pytest.raises(InferenceServerException, match="no model 'other'"):
            client.infer("other", [text], headers=headers)
        with pytest.raises(InferenceServerException, match="unauthorized"):
            client.infer("bert-features", [text])
    finally:
        client.close()


def test_triton_sends_files(endpoint):
    """An image in, a depth map out: both as BYTES."""
    client = triton.InferenceServerClient(endpoint.url.removeprefix("http://"))
    headers, model = {"Authorization": f"Bearer {endpoint.key}"}, "glpn-depth-estimation"
    try:
        metadata = client.get_model_metadata(model, headers=headers)
        assert [one["name"] for one in metadata["inputs"]] == ["image"]
        sent = triton.InferInput("image", [1], "BYTES")
        sent.set_data_from_numpy(np.array([image(1)], object), binary_data=True)
        [png] = client.infer(model, [sent], headers=headers).as_numpy("depth_png")
    finally:
        client.close()
    assert Image.open(io.BytesIO(base64.b64decode(png))).size == Image.open(io.BytesIO(image(1))).size


def test_vectors_of_some_rows_are_no_tensor(endpoint):
    """Texts and questions have vectors of their own; a tensor has no holes."""
    inputs = [
        {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a day", None]},
        {"name": "question", "datatype": "BYTES", "shape": [2], "data": [None, "which day?"]},
    ]
    answer = endpoint.post("/v2/models/retribert-features/infer", json={"inputs": inputs})
    assert answer.status_code == 400
    assert "some rows have no vector" in answer.json()["error"]


def test_triton_sends_words_and_boxes(endpoint):
    words, boxes = ["Total", "99.00"], [[0, 0, 90, 90], [100, 0, 200, 90]]
    inputs = [
        {"name": "words", "datatype": "BYTES", "shape": [1], "data": [json.dumps(words)]},
        {"name": "boxes", "datatype": "BYTES", "shape": [1], "data": [json.dumps(boxes)]},
    ]
    answer = endpoint.post("/v2/models/layoutlm-token-classification/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
    assert json.loads(outputs["words"][0]) == words


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"inputs": [{"name": "text"}]}',
        b'{"inputs": [{"name": "nothing", "data": []}]}',
        b'{"inputs": [{"name": "text", "datatype": "BYTES", "parameters": {"binary_data_size": 99}}]}',
        b'{"inputs": [{"name": "text", "data": ["a"]}, {"name": "text_pair", "data": ["a", "b"]}]}',
        b'{"inputs": [{"name": "text", "data": ["a"]}], "outputs": [{"name": "no"}]}',
    ],
)
def test_what_is_no_inference_is_refused(endpoint, body):
    answer = endpoint.post("/v2/models/bert-text-classification/infer", data=body)
    assert answer.status_code == 400
    assert isinstance(answer.json()["error"], str)


def test_pages_come_as_lines(endpoint, tmp_path):
    path = corpus.pdf(tmp_path / "three.pdf", 3)
    url = "/v1/layoutlm/document-classification"
    whole = endpoint.send(url, path).json()
    with path.open("rb") as file:
        answer = endpoint.post(
            url, files={"file": (path.name, file)}, headers={"Accept": "application/x-ndjson"}, stream=True
        )
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        lines = [json.loads(line) for line in answer.iter_lines()]
    assert [next(iter(line)) for line in lines] == ["row", "row", "row", "document"]
    same(plain([line["row"] for line in lines[:3]]), plain(whole["rows"]), "rows")
    same(plain([lines[3]["document"]]), plain(whole["documents"]), "documents")
    broken = corpus.broken(tmp_path / "broken.pdf")
    with broken.open("rb") as file:
        answer = endpoint.post(url, files={"file": ("b.pdf", file)}, headers={"Accept": "application/x-ndjson"})
    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "corrupt"


def test_an_endpoint_says_what_it_is(endpoint):
    assert requests.get(f"{endpoint.url}/readyz", timeout=60).json()["status"] == "ready"
    paths = requests.get(f"{endpoint.url}/openapi.json", timeout=60).json()["paths"]
    openai_paths = {"/v1/embeddings", "/v1/audio/transcriptions"}
    assert {"/v1/{family}/{task}", "/v1/models", "/v2/models/{model}/infer", "/healthz"} | openai_paths <= set(paths)
    assert "base64" in paths["/v1/{family}/{task}"]["post"]["responses"]["200"]["description"]
    assert "swagger" in requests.get(f"{endpoint.url}/docs", timeout=60).text
    one = endpoint.get("/v1/models").json()["data"][0]
    assert one["reads"]
    assert one["writes"]
    assert len(one["fingerprint"]) == 32


def test_a_request_keeps_its_id(endpoint):
    answer = endpoint.get("/v1/models", headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
