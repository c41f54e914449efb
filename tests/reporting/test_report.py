import html.parser
import json
import re

import numpy as np
import pytest
import torch

from cubefast.errors import ArtifactError, InputError
from cubefast.evaluation.report import Score
from cubefast.reporting.material import open_material

from .conftest import evaluated, train_small

PICTURES = {"similarity.png", "ranks.png", "calibration.png", "difficulty.png", "errors.png"}


@pytest.fixture(scope="module")
def arrays(folder):
    with np.load(folder / "per_query.npz", allow_pickle=False) as file:
        return dict(file)


def interval(ours, theirs, groups, resamples=4000):
    """A paired bootstrap written anew, with a loop and another generator."""
    names = np.unique(groups)
    rows = {name: np.flatnonzero(groups == name) for name in names}
    difference = ours - theirs
    generator = np.random.default_rng(7)
    means = []
    for _ in range(resamples):
        drawn = np.concatenate([rows[name] for name in generator.choice(names, len(names))])
        means.append(difference[drawn].mean())
    return difference.mean(), *np.percentile(means, (2.5, 97.5))


def test_everything_promised_is_there(folder):
    assert {"report.md", "report.html", "report.json", "per_query.npz", *PICTURES} <= {f.name for f in folder.iterdir()}
    for name in PICTURES:
        assert (folder / name).read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_first_line_is_what_the_single_queries_give(folder, arrays, report):
    line = (folder / "report.md").read_text().splitlines()[0]
    found = re.match(
        r"# (Better than|Worse than|Not distinguishable from) (.+) on unseen group: cosine (\S+), 95% interval (\S+) "
        r"to (\S+) \(paired bootstrap over (\d+) groups\); (better than|worse than|not distinguishable from) (.+) on "
        r"MRR: (\S+), 95% interval (\S+) to (\S+)$",
        line,
    )
    assert found, line
    words, near, *cosine, groups, _, finds, _, _, _ = found.groups()
    test = list(arrays["tests"]).index("unseen group")
    models = list(arrays[f"{test}/models"])
    near, finds = (name.replace("\\", "") for name in (near, finds))
    ours, theirs = (arrays[f"{test}/cosine"][models.index(name)].astype(float) for name in ("cube", near))
    expected = interval(ours, theirs, arrays[f"{test}/groups"])
    assert float(cosine[0]) == pytest.approx(expected[0], abs=1e-4)
    assert [float(x) for x in cosine[1:]] == pytest.approx(expected[1:], abs=0.15 * (expected[2] - expected[1]))
    assert int(groups) == len(np.unique(arrays[f"{test}/groups"]))
    low, high = float(cosine[1]), float(cosine[2])
    assert words == ("Better than" if low > 0 else "Worse than" if high < 0 else "Not distinguishable from")
    best = {m: max((s for s in report["validation"][1:]), key=lambda s: s[m])["model"] for m in ("cosine", "mrr")}
    assert (near, finds) == (best["cosine"], best["mrr"]), "the baseline is chosen on validation"


def test_every_figure_of_the_table_follows_from_the_single_queries(folder, arrays):
    text = (folder / "report.md").read_text().replace("\\", "").replace("**", "")
    for test, title in enumerate(arrays["tests"]):
        block = text.split(f"\n{title}: {len(arrays[f'{test}/key']):,} queries")[1]
        rows = [line.strip("| ").split(" | ") for line in block.split("\n\n")[1].splitlines()]
        names, lines = rows[0], {row[0]: row[1:] for row in rows[2:]}
        assert names[3:] == ["cosine", "centred", "1000 MSE", "R@1", "R@5", "R@10", "MRR", "median rank", "relevance"]
        assert list(lines) == list(arrays[f"{test}/models"])
        for model, cells in enumerate(lines.values()):
            rank = arrays[f"{test}/rank"][model]
            expected = [
                arrays[f"{test}/cosine"][model].mean(dtype=float),
                arrays[f"{test}/centred_cosine"][model].mean(dtype=float),
                1000 * arrays[f"{test}/mse"][model].mean(dtype=float),
                *((rank <= k).mean() for k in (1, 5, 10)),
                (1 / rank).mean(),
                np.median(rank),
                arrays[f"{test}/semantic_relevance"][model].mean(dtype=float),
            ]
            got = [float(cell) for cell in cells[2:]]
            assert got == pytest.approx(expected, abs=0.0051 if got[2] else 0.00051)
            assert got[:2] == pytest.approx(expected[:2], abs=0.00051)


def test_ranks_are_what_the_saved_answers_say(findings, arrays):
    for test in range(len(arrays["tests"])):
        first = arrays[f"{test}/rank"][0] == 1
        assert np.array_equal(arrays[f"{test}/nearest"][first], arrays[f"{test}/right"][first])
    head = findings.headline
    inputs, targets = head.inputs, head.targets
    predicted = findings.material.core(inputs).detach()
    assert torch.allclose(torch.cosine_similarity(predicted, targets), head.cube.metrics.cosines, atol=1e-5)


def test_readers_of_scores_still_find_them(report):
    scores = [Score(**each) for each in report["scores"]]
    assert {each.test for each in scores} == {"unseen group", "unseen paraphrase"}
    assert {each.model for each in scores} > {"cube", "identity", "mean answer", "Procrustes"}


def test_the_worst_cases_are_the_worst_and_the_median_ones_surround_the_median(findings, arrays):
    head = findings.headline
    worst, median = findings.cases[head.title]
    cosines = np.sort(head.cube.metrics.cosines.numpy())
    assert [case.cosine for case in worst] == pytest.approx(cosines[:10].tolist())
    middle = np.median(cosines)
    assert min(case.cosine for case in median) <= middle <= max(case.cosine for case in median)
    for case in worst:
        assert case.question == head.items.questions[case.query]
        assert (case.retrieved == case.expected) == (case.rank == 1)


def test_a_second_evaluation_gives_the_same_but_for_times(findings, folder, report):
    before = {name: (folder / name).read_bytes() for name in ("per_query.npz", *PICTURES)}
    again = evaluated(folder)
    now = json.loads((folder / "report.json").read_text())
    assert {k: v for k, v in now.items() if k != "performance"} == {
        k: v for k, v in report.items() if k != "performance"
    }
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert again.verdict == findings.verdict


class Page(html.parser.HTMLParser):
    """Every tag closed in turn, no attribute that fetches."""

    VOID = frozenset({"meta", "img", "br", "hr"})

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.fetched, self.tags, self.text = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "srcset", "action", "data") and not value.startswith("data:image/png;base64,"):
                self.fetched.append((tag, name, value))
            assert not name.startswith("on"), f"{tag} has a script in {name}"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def read_page(text):
    page = Page()
    page.feed(text)
    page.close()
    assert page.open == []
    return page


def test_the_page_is_whole_and_fetches_nothing(folder, findings):
    text = (folder / "report.html").read_text()
    page = read_page(text)
    assert page.fetched == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"url\(|@import", text)
    assert page.tags.count("img") == len(PICTURES)
    assert page.tags.count("h1") == 1
    assert findings.verdict in page.text


def test_both_forms_say_the_same(folder):
    page = " ".join(read_page((folder / "report.html").read_text()).text)
    markdown = (folder / "report.md").read_text()
    for heading in re.findall(r"^#{1,3} (.+)$", markdown, re.MULTILINE):
        assert heading.replace("\\", "") in page


def test_a_file_of_ones_own_is_tested_on_and_its_texts_are_escaped(findings, folder, tmp_path):
    nasty = '<script>alert("1")</script> & | *stars* `code` [link](x)'
    rows = [
        {"question": f"{nasty} {w}?", "answer": f"Nobody knows the {w} of <b>{w}</b>.", "group": w, "domain": f"<i>{w}"}
        for w in ("moon", "sun", "sea", "wind", "salt", "iron", "fog")
    ]
    source = tmp_path / "own.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    found = evaluated(folder, f"data={source}")
    assert [test.title for test in found.tests] == ["own.jsonl"]
    assert found.headline.cube.metrics.queries == 7
    assert [b.parameters for b in found.results[0].comparison.baselines] == [
        b.parameters for b in findings.results[0].comparison.baselines
    ]
    assert not any("threshold" in line for line in found.limits), "the bank has none of these answers"
    there = folder / "evaluations" / "other"
    page = read_page((there / "report.html").read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert any(nasty in text for text in page.text)
    markdown = (there / "report.md").read_text()
    assert "\\<script\\>" in markdown
    assert "<script>" not in markdown
    assert (folder / "report.json").stat().st_mtime < (there / "report.json").stat().st_mtime


def test_what_was_trained_on_is_no_test(findings, folder, tmp_path):
    text = findings.results[0].section.train.questions[3]
    source = tmp_path / "leak.jsonl"
    source.write_text(json.dumps({"question": text.upper(), "answer": "An answer of its own."}))
    with pytest.raises(InputError, match="1 texts or embeddings of the other file are also in the training"):
        open_material(folder, [f"data={source}"])
    with pytest.raises(InputError, match="are also in the training"):
        open_material(folder, ["data=builtin"])


def test_only_data_can_be_changed(folder):
    with pytest.raises(InputError, match=r"data\.\* keys only, for the rest is the run's; got core.steps, seed"):
        open_material(folder, ["core.steps=2", "seed=1"])
    with pytest.raises(InputError, match="name it with data=FILE"):
        open_material(folder, ["data.columns.question=q"])


def numbers(folder, count=120):
    """A small set, three questions an answer."""
    source = folder / "numbers.jsonl"
    rows = [
        {"question": f"{what} the square of {n}?", "answer": f"{n} times {n} is {n * n}.", "group": str(n)}
        for n in range(count // 3)
        for what in ("What is", "Tell me", "Do you know")
    ]
    source.write_text("\n".join(map(json.dumps, rows)))
    return source


def test_a_run_without_a_core_or_with_other_data_is_refused(tmp_path, monkeypatch):
    source = tmp_path / "set.jsonl"
    rows = [{"question": f"What is the number {n}?", "answer": f"It is {n * n}.", "group": str(n)} for n in range(80)]
    source.write_text("\n".join(map(json.dumps, rows)))
    path = train_small(tmp_path, "changing", data={"path": str(source)})
    source.write_text("\n".join(map(json.dumps, rows[:-1])))
    with pytest.raises(ArtifactError, match=r"has changed since it was trained \(pairs, questions, answers, groups"):
        open_material(path)
    source.write_text("\n".join(map(json.dumps, rows)))
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("hashing:24", "hashing:23"))
    with pytest.raises(ArtifactError, match="hashing-v1-24, and now they come from hashing-v1-23"):
        open_material(path)
    (path / "config.yaml").write_text(config)
    (path / "best").rename(path / "gone")
    with pytest.raises(ArtifactError, match=r"config.yaml or best/ is missing"):
        open_material(path)


def test_ready_vectors_are_evaluated_with_their_texts(tmp_path):
    rows = [{"question": f"Question {n} of ten?", "answer": f"Answer {n}.", "group": str(n)} for n in range(120)]
    source, vectors = tmp_path / "set.jsonl", tmp_path / "set.npz"
    source.write_text("\n".join(map(json.dumps, rows)))
    questions = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    np.savez(vectors, question=questions, answer=questions[:, ::-1])
    path = train_small(tmp_path, "ready", data={"path": str(source), "vectors": str(vectors)})
    found = evaluated(path)
    assert found.cases["unseen group"][0][0].question.startswith("Question")
    assert found.performance["one_query_whole"] is None
    with pytest.raises(InputError, match="give data.vectors=FILE too"):
        open_material(path, [f"data={source}"])


def test_an_autoencoder_of_bare_embeddings_is_evaluated(tmp_path):
    vectors = tmp_path / "bare.npy"
    np.save(vectors, np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32))
    path = train_small(tmp_path, "bare", mode="autoencoder", data={"path": str(vectors)})
    found = evaluated(path)
    titles = [test.title for test in found.tests]
    assert titles[0] == "unseen text, noise 0.05"
    assert "unseen text, noise 0.1 (not trained on)" in titles
    assert found.cases[titles[0]][0][0].question is None
    assert "query " in (path / "report.md").read_text()
    assert "PCA-Wiener (told the noise)" in {each.model for each in found.headline.measured}
    other = tmp_path / "others.npy"
    np.save(other, np.load(vectors)[:50])
    with pytest.raises(InputError, match="the first: 'embedding"):
        open_material(path, [f"data={other}"])
    np.save(other, np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32))
    assert evaluated(path, f"data={other}").headline.title == "others.npy, noise 0.05"


def test_a_mixed_run_is_evaluated_both_ways(tmp_path):
    data = {"path": str(numbers(tmp_path)), "noise": {"levels": [0.1]}}
    found = evaluated(train_small(tmp_path, "mixed", mode="mixed", data=data))
    titles = [test.title for test in found.tests]
    assert titles[0] == "unseen group"
    assert {"unseen paraphrase", "unseen group, noise 0.1", "unseen group, noise 0.05 (not trained on)"} < set(titles)
    assert found.verdict.startswith(("Better than", "Worse than", "Not distinguishable from"))
