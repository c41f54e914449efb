import dataclasses
import html.parser
import json
import re
import shutil
import xml.etree.ElementTree

import numpy as np
import pytest
import torch

from cubefast.errors import ArtifactError, InputError
from cubefast.evaluation.score_table import Score
from cubefast.reporting.caveats import ReliabilityCurve
from cubefast.reporting.figures import draw_calibration
from cubefast.reporting.run_data import open_run_data
from cubefast.training.run_folder import REPORT_FILES, RunFolder
from cubefast.utils import drawing

from .conftest import evaluated, train_small

PICTURES = {"summary.svg", "calibration.svg", "training.svg"}


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
        assert xml.etree.ElementTree.parse(folder / name).getroot().tag == "{http://www.w3.org/2000/svg}svg"


OUTCOMES = r"(better than|worse than|no clear difference from) the strongest rival, ([a-zA-Z -]+)"
VERDICT = f"[Nn]ew wordings of known answers: {OUTCOMES}; new topics: {OUTCOMES}"


def test_the_verdict_is_what_the_single_queries_give_in_each_regime(arrays, report, evaluation):
    assert [each["test"] for each in report["verdict"]["regimes"]] == ["unseen paraphrase", "unseen group"]
    found = re.fullmatch(VERDICT, report["verdict"]["sentence"])
    assert found, report["verdict"]["sentence"]
    best = max(report["validation"][1:], key=lambda each: each["mrr"])["model"]
    for each, told, words, kind in zip(
        report["verdict"]["regimes"], evaluation.main.verdicts, found.groups()[::2], found.groups()[1::2], strict=True
    ):
        test = list(arrays["tests"]).index(each["test"])
        models = list(arrays[f"{test}/models"])
        ours, theirs = (1 / arrays[f"{test}/rank"][models.index(model)] for model in ("cube", each["baseline"]))
        expected = interval(ours, theirs, arrays[f"{test}/groups"])
        assert each["difference"] == pytest.approx(expected[0], abs=1e-6)
        low, high = each["low"], each["high"]
        assert [low, high] == pytest.approx(expected[1:], abs=0.15 * (expected[2] - expected[1]) + 1e-4)
        assert each["groups"] == len(np.unique(arrays[f"{test}/groups"]))
        assert words == ("better than" if low > 0 else "worse than" if high < 0 else "no clear difference from")
        assert each["baseline"] == best, "the baseline is chosen on validation"
        assert kind == each["kind"] == best.split(",")[0]
        assert told.figures.startswith(f"MRR {each['difference']:+.4f}, 95% interval {low:+.4f} to {high:+.4f} (")


def test_the_main_test_and_identity_are_chosen_by_fields_and_not_by_titles(evaluation):
    (result,) = evaluation.results
    misnamed = [
        dataclasses.replace(
            test,
            title=f"unseen group (not trained on) {test.part}",
            measured=[dataclasses.replace(each, model=f"identity of {each.model}") for each in test.measured],
        )
        for test in result.tests
    ]
    head = dataclasses.replace(result, tests=misnamed).main_test
    assert (head.regime, head.part) == ("unseen_group", "unseen group")
    assert (head.cube.kind, head.identity.kind) == ("cube", "identity")
    noisy = [dataclasses.replace(test, noise_trained=test.regime != "unseen_group") for test in misnamed]
    assert dataclasses.replace(result, tests=noisy).main_test.regime == "unseen_paraphrase"


def test_training_further_takes_the_whole_report_away(folder, tmp_path):
    run = RunFolder.open(shutil.copytree(folder, tmp_path / "run"))
    written = {path.name for path in run.path.iterdir() if path.suffix in (".md", ".html", ".npz", ".svg")}
    assert {"report.md", "report.html", "per_query.npz", "summary.svg"} <= written <= set(REPORT_FILES)
    run.discard_derived_files()
    left = {path.name for path in run.path.iterdir()}
    assert not left & {*REPORT_FILES, "threshold.json", "refit"}
    assert {"config.yaml", "best", "metrics.jsonl"} <= left


def test_what_it_came_to_stands_first_after_the_title(evaluation, folder, report):
    blocks = (folder / "report.md").read_text().split("\n\n")
    assert blocks[1].replace("\\", "") == f"**{evaluation.main.headline}**"
    assert report["headline"] == evaluation.main.headline
    wordings, topics = (
        next(test for test in evaluation.tests if test.title == title)
        for title in ("unseen paraphrase", "unseen group")
    )
    shares = [
        f"{test.identity.metrics.recall_at_1:.0%} before, {test.cube.metrics.recall_at_1:.0%} with {words}"
        for test, words in ((wordings, "the cube"), (topics, "it"))
    ]
    assert evaluation.main.headline.startswith(f"Right first answer: {shares[0]} (best rival ")
    assert f", new wordings of known answers; {shares[1]} (best rival " in evaluation.main.headline
    validation = {each["model"]: each["mrr"] for each in report["validation"]}
    cube = validation.pop("cube")
    gains = [
        len(test.pairs) * (test.cube.metrics.recall_at_1 - test.identity.metrics.recall_at_1)
        for test in (wordings, topics)
    ]
    if "On validation " in evaluation.main.headline:
        assert max(validation.values()) > cube
    else:
        assert ("the cube may be left out" in evaluation.main.headline) == (sum(gains) <= 0)
    assert blocks[0] == f"# Evaluation of {folder.name}"
    assert blocks[2].splitlines() == [f"- {str(each)[0].upper()}{str(each)[1:]}." for each in evaluation.main.verdicts]
    assert blocks[3].startswith("![new wordings of known answers: before (identity)")
    table = [line.strip("| ").split(" | ") for line in blocks[6].replace("**", "").replace("\\", "").splitlines()]
    assert table[0][:3] == ["model", "R@1", "MRR"]
    headings = [line[0] for line in table[2:] if len(line) == 1]
    assert [each.split(":")[0] for each in headings] == ["New wordings of known answers", "New topics"]
    count = len(wordings.measured)
    for lines, test in zip((table[3 : 3 + count], table[4 + count :]), (wordings, topics), strict=True):
        assert [line[0] for line in lines[:2]] == ["before (identity)", "with the cube"]
        assert lines[2][0].endswith(" (strongest rival)")
        assert len(lines) == len(test.measured)
        for line in lines:
            kind = {"before (identity)": "identity", "with the cube": "cube"}.get(line[0], line[0].split(" (")[0])
            (model,) = (each for each in test.measured if each.kind == kind)
            assert line[1:3] == [f"{x:.3f}" for x in (model.metrics.recall_at_1, model.metrics.mrr)]
            if kind != "cube":
                verdict = test.verdict("mrr", model.model)
                assert float(line[3]) == pytest.approx(verdict.difference, abs=5.1e-5)


def test_ranks_are_among_all_answers_of_the_data_set(evaluation, arrays):
    parts = evaluation.results[0].task.parts
    bank = torch.from_numpy(parts.answer_vectors)
    for test, title in enumerate(arrays["tests"]):
        assert arrays[f"{test}/pool"] == len(parts.answers) == 286
        result = next(each for each in evaluation.tests if each.title == title)
        predicted = evaluation.run_data.core(result.pairs.inputs).detach()
        scores = torch.nn.functional.normalize(predicted, dim=1) @ bank.T
        right = torch.from_numpy(arrays[f"{test}/right"])
        ranks = (scores >= scores.gather(1, right[:, None]) - 1e-6).sum(dim=1)
        assert (ranks.numpy() == arrays[f"{test}/rank"][0]).mean() > 0.99, "but for rounding"
        assert result.pool_texts == parts.answers
        assert [parts.answers[row] for row in right] == [each.answer for each in result.metadata.dialogues]


def test_every_other_metric_follows_from_the_single_queries(folder, arrays):
    text = (folder / "report.md").read_text().replace("\\", "").replace("**", "").split("## All other metrics")[1]
    words = {"unseen paraphrase": "New wordings of known answers", "unseen group": "New topics"}
    names = {"before (identity)": "identity", "with the cube": "cube"}
    for test, title in enumerate(arrays["tests"]):
        block = text.split(f"\n{words[title]}: {len(arrays[f'{test}/key']):,} queries")[1]
        rows = [line.strip("| ").split(" | ") for line in block.split("\n\n")[1].splitlines()]
        lines = {names.get(row[0], row[0]): row[2:] for row in rows[2:]}
        columns = ["R@5", "R@10", "nDCG@10", "median rank", "relevance", "centred cosine", "1000 MSE"]
        assert rows[0][1:9] == ["settings", *columns]
        kinds = list(arrays[f"{test}/kinds"])
        assert set(lines) == set(kinds)
        for kind, cells in lines.items():
            model = kinds.index(kind)
            rank = arrays[f"{test}/rank"][model]
            expected = [
                *((rank <= k).mean() for k in (5, 10)),
                ((rank <= 10) / np.log2(1 + rank)).mean(),
                np.median(rank),
                arrays[f"{test}/semantic_relevance"][model].mean(dtype=float),
                arrays[f"{test}/centred_cosine"][model].mean(dtype=float),
            ]
            got = [float(cell) for cell in cells[:7]]
            assert got[:6] == pytest.approx(expected, abs=0.00051)
            assert got[6] == pytest.approx(1000 * arrays[f"{test}/mse"][model].mean(dtype=float), abs=0.0051)


def test_ranks_are_what_the_saved_answers_say(evaluation, arrays):
    for test in range(len(arrays["tests"])):
        first = arrays[f"{test}/rank"][0] == 1
        assert np.array_equal(arrays[f"{test}/nearest"][first], arrays[f"{test}/right"][first])
    head = evaluation.main.main_test
    inputs, targets = head.pairs.inputs, head.pairs.targets
    predicted = evaluation.run_data.core(inputs).detach()
    assert torch.allclose(torch.cosine_similarity(predicted, targets), head.cube.metrics.cosines, atol=1e-5)


def test_readers_of_scores_still_find_them(report):
    scores = [Score(**each) for each in report["scores"]]
    assert {each.test for each in scores} == {"unseen group", "unseen paraphrase"}
    assert {each.model for each in scores} > {"cube", "identity", "mean answer", "Procrustes"}


def test_cases_are_those_put_right_those_spoilt_and_those_that_stay_wrong_the_worst_first(evaluation, arrays):
    for test, title in enumerate(arrays["tests"]):
        kinds = list(arrays[f"{test}/kinds"])
        before, after = (arrays[f"{test}/rank"][kinds.index(kind)] for kind in ("identity", "cube"))
        (result,) = (each for each in evaluation.tests if each.title == title)
        groups = {group.title: group for group in evaluation.cases[title]}
        for name, chosen, ranks in (
            ("Wrong before, right with the cube", (before > 1) & (after == 1), before),
            ("Right before, wrong with the cube", (before == 1) & (after > 1), after),
            ("Wrong before and with the cube", (before > 1) & (after > 1), after),
        ):
            if not chosen.any():
                assert name not in groups
                continue
            found = groups[name]
            assert found.total == chosen.sum()
            assert [ranks[case.query] for case in found.cases] == sorted(ranks[chosen], reverse=True)[:4]
            for case in found.cases:
                assert chosen[case.query]
                assert (case.before, case.after) == (before[case.query], after[case.query])
                assert case.question == result.metadata.dialogues[case.query].question
                assert (case.retrieved == case.expected) == (case.after == 1)


def test_a_part_of_the_reliability_curve_has_ten_questions_or_more(evaluation):
    test = evaluation.main.main_test
    for queries, parts in ((104, 10), (99, 9), (25, 2), (9, 1)):
        curve = ReliabilityCurve.of(test.scores[:queries], test.correct[:queries])
        assert (len(curve.queries), sum(curve.queries)) == (parts, queries)
        assert curve.scores == sorted(curve.scores)
    assert draw_calibration({"new topics": ReliabilityCurve.of(test.scores[:9], test.correct[:9])}) is None


def test_pictures_have_letters_and_follow_the_dark_scheme_on_screens_alone(folder):
    for name in PICTURES:
        picture = (folder / name).read_text()
        assert picture.count("@media screen and (prefers-color-scheme: dark)") == 1
        assert "<text" in picture
        assert "DejaVu" not in picture
        used = set(re.findall("(?:fill|stroke): (#[0-9a-f]{6})", picture))
        assert used <= set(drawing._DARK), "every colour has its dark one"


def test_a_second_evaluation_gives_the_same_but_for_times(evaluation, folder, report):
    before = {name: (folder / name).read_bytes() for name in ("per_query.npz", *PICTURES)}
    again = evaluated(folder)
    now = json.loads((folder / "report.json").read_text())
    assert {k: v for k, v in now.items() if k != "performance"} == {
        k: v for k, v in report.items() if k != "performance"
    }
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert again.verdict == evaluation.verdict


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
            if name in ("src", "href", "srcset", "action", "data") and not value.startswith(
                "data:image/svg+xml;base64,"
            ):
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


def test_the_page_is_whole_and_fetches_nothing(folder, evaluation):
    text = (folder / "report.html").read_text()
    page = read_page(text)
    assert page.fetched == []
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"url\(|@import", text)
    assert page.tags.count("img") == len(PICTURES)
    assert page.tags.count("h1") == 1
    assert evaluation.main.headline in page.text


def test_both_forms_say_the_same(folder):
    page = " ".join(read_page((folder / "report.html").read_text()).text)
    markdown = (folder / "report.md").read_text()
    for heading in re.findall(r"^#{1,3} (.+)$", markdown, re.MULTILINE):
        assert heading.replace("\\", "") in page


def test_a_file_of_ones_own_is_tested_on_and_its_texts_are_escaped(evaluation, folder, tmp_path):
    nasty = '<script>alert("1")</script> & | *stars* `code` [link](x)'
    rows = [
        {"question": f"{nasty} {w}?", "answer": f"Nobody knows the {w} of <b>{w}</b>.", "group": w, "domain": f"<i>{w}"}
        for w in ("moon", "sun", "sea", "wind", "salt", "iron", "fog")
    ]
    source = tmp_path / "own.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    found = evaluated(folder, f"data={source}")
    assert [test.title for test in found.tests] == ["own.jsonl"]
    assert found.main.main_test.cube.metrics.pool == 7 + 286, "its answers and the run's"
    assert found.main.headline.split(" On validation ")[0].endswith(", own.jsonl (7 queries).")
    assert found.results[0].validation["cube"] == evaluation.results[0].validation["cube"]
    assert found.main.main_test.cube.metrics.queries == 7
    assert [b.parameters for b in found.results[0].comparison.baselines] == [
        b.parameters for b in evaluation.results[0].comparison.baselines
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


def test_an_answer_of_the_runs_tests_stands_in_the_bank_of_a_file_once(evaluation, folder, tmp_path):
    dialogues = evaluation.results[0].task.tests["unseen group"].dialogues
    rows = [{"question": f"Once more: {each.question}", "answer": each.answer} for each in dialogues]
    source = tmp_path / "again.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    (task,) = open_run_data(folder, [f"data={source}"]).tasks
    assert len(task.bank) == len(task.texts) == 286
    pairs = task.parts.tests["again.jsonl"].pairs()
    assert torch.equal(task.bank[pairs.target_ids], pairs.targets)
    assert [task.texts[row] for row in pairs.target_ids.tolist()] == [each.answer for each in dialogues]
    assert task.parts.answers == evaluation.results[0].task.parts.answers, "validation is ranked as before"


def test_a_run_that_holds_nothing_out_is_evaluated_on_a_file_alone(tmp_path):
    split = {"test_percent": 0, "test_paraphrase_percent": 0}
    path = train_small(tmp_path, "whole", data={"path": str(numbers(tmp_path)), "split": split})
    with pytest.raises(InputError, match="holds nothing out for tests .* Name a file with data=FILE"):
        open_run_data(path)
    source = tmp_path / "own.jsonl"
    source.write_text(json.dumps({"question": "Where is the moon?", "answer": "Far away."}))
    assert evaluated(path, f"data={source}").verdict == "Questions of own.jsonl: too few groups (1) to tell"


def test_what_was_trained_on_is_no_test(evaluation, folder, tmp_path):
    text = evaluation.results[0].task.train[3].question
    source = tmp_path / "leak.jsonl"
    source.write_text(json.dumps({"question": text.upper(), "answer": "An answer of its own."}))
    with pytest.raises(InputError, match="1 questions of the other file are also in the training"):
        open_run_data(folder, [f"data={source}"])
    with pytest.raises(InputError, match="are also in the training"):
        open_run_data(folder, ["data=builtin"])


def test_new_wordings_of_known_answers_are_a_test(evaluation, folder, tmp_path):
    known = evaluation.results[0].task.train[3].answer
    rows = [
        {"question": f"What would you say, number {i}?", "answer": answer} for i, answer in enumerate((known, "New."))
    ]
    source = tmp_path / "wordings.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)))
    found = open_run_data(folder, [f"data={source}"])
    assert found.notes == ["Of the 2 questions of the file, 1 have an answer that the core was trained on."]
    assert len(found.tasks[0].parts.tests["wordings.jsonl"]) == 2


def test_only_data_can_be_changed(folder):
    with pytest.raises(InputError, match=r"data\.\* keys only, for the rest is the run's; got core.steps, seed"):
        open_run_data(folder, ["core.steps=2", "seed=1"])
    with pytest.raises(InputError, match="name it with data=FILE"):
        open_run_data(folder, ["data.columns.question=q"])


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
        open_run_data(path)
    source.write_text("\n".join(map(json.dumps, rows)))
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("hashing:24", "hashing:23"))
    with pytest.raises(ArtifactError, match="hashing-v1-24, and now they come from hashing-v1-23"):
        open_run_data(path)
    (path / "config.yaml").write_text(config)
    (path / "best").rename(path / "gone")
    with pytest.raises(ArtifactError, match=r"config.yaml or best/ is missing"):
        open_run_data(path)


def test_ready_vectors_are_evaluated_with_their_texts(tmp_path):
    rows = [{"question": f"Question {n} of ten?", "answer": f"Answer {n}.", "group": str(n)} for n in range(120)]
    source, vectors = tmp_path / "set.jsonl", tmp_path / "set.npz"
    source.write_text("\n".join(map(json.dumps, rows)))
    questions = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
    np.savez(vectors, question=questions, answer=questions[:, ::-1])
    path = train_small(tmp_path, "ready", encoder=None, data={"path": str(source), "vectors": str(vectors)})
    found = evaluated(path)
    assert found.cases["unseen group"][0].cases[0].question.startswith("Question")
    assert found.performance["one_query_whole"] is None
    with pytest.raises(InputError, match="give data.vectors=FILE too"):
        open_run_data(path, [f"data={source}"])


def test_an_autoencoder_of_bare_embeddings_is_evaluated(tmp_path):
    vectors = tmp_path / "bare.npy"
    np.save(vectors, np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32))
    path = train_small(tmp_path, "bare", mode="autoencoder", data={"path": str(vectors)})
    found = evaluated(path)
    titles = [test.title for test in found.tests]
    main = "unseen text, noise 0.05"
    assert found.main.main_test.title == main
    assert {main, "unseen text, noise 0.1 (not trained on)"} < set(titles)
    assert [each.title for each in found.analysed_tests] == list(found.analyses) == list(found.cases) == [main]
    assert all(case.question is None for group in found.cases[main] for case in group.cases)
    assert "PCA-Wiener, given the noise" in {each.model for each in found.main.main_test.measured}
    assert re.fullmatch(f"New texts, noise 0.05: {OUTCOMES}", found.verdict), found.verdict
    assert {each.verdict.metric for each in found.main.verdicts} == {"cosine"}
    text = (path / "report.md").read_text().replace("\\", "")
    assert "| model | cosine | R@1 | cosine: cube - model |" in text
    assert found.main.headline == "", "nobody asks an autoencoder for answers"
    assert [each.test for each in found.main.verdicts] == [test.title for test in found.results[0].tests]
    other = tmp_path / "others.npy"
    np.save(other, np.load(vectors)[:50])
    with pytest.raises(InputError, match="the first: 'embedding"):
        open_run_data(path, [f"data={other}"])
    np.save(other, np.random.default_rng(1).normal(size=(50, 8)).astype(np.float32))
    assert evaluated(path, f"data={other}").main.main_test.title == "others.npy, noise 0.05"


def test_a_mixed_run_is_evaluated_both_ways(tmp_path):
    data = {"path": str(numbers(tmp_path)), "noise": {"levels": [0.1]}}
    path = train_small(tmp_path, "mixed", mode="mixed", data=data)
    found = evaluated(path)
    titles = [test.title for test in found.tests]
    assert titles[:2] == ["unseen paraphrase", "unseen group"]
    assert {"unseen group, noise 0.1", "unseen group, noise 0.05 (not trained on)"} < set(titles)
    wordings, topics = found.verdict.split("; ")
    assert re.fullmatch(f"New wordings of known answers: {OUTCOMES}", wordings)
    assert topics == "new topics: too few groups (3) to tell"
    assert [each.test for each in found.main.verdicts] == ["unseen paraphrase", "unseen group"], (
        "what was asked for first"
    )
    text = (path / "report.md").read_text().replace("\\", "")
    assert text.count("too few groups (3) to tell") == 1, "once for the regime"
    section = text.split("**New topics: ")[1].split("\n\n")[0]
    for line in section.splitlines()[1:]:
        _, _, _, difference, interval_of_mrr, outcome, *_ = line.strip("|").split("|")
        assert interval_of_mrr.strip() == ""
        assert outcome.strip() == ("too few groups" if difference.strip() else "")
    assert "New texts" not in text
    assert "New topics, noise 0.1" in text
