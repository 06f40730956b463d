"""`roadsense verify` on real SUMO: a submission runs again, what is false is found."""

import json
import pickle
import re
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from support.untrained import untrained_model

from ml.cli import main
from ml.evaluation.acceptance.submission import read_submission
from ml.training.checkpoints import model_bytes

pytestmark = [pytest.mark.sumo, pytest.mark.slow]

SEED = "3000017"


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """A policy that has learnt nothing, and the submission of its acceptance tests."""
    folder = tmp_path_factory.mktemp("sent")
    model = folder / "final.zip"
    model.write_bytes(model_bytes(untrained_model(0, peer_embed_dim=16)))
    command = ["targets", str(model), "--quick", "--only", "plexe", "--seed", SEED]
    command += ["--controllers", "cth:1.1", "--name", "nothing learnt", "--by", "me@example.org"]
    assert main([*command, "--workers", "1", "--out", str(folder / "out")]) == 0
    return model, folder / "out" / "submission.json"


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """Where it is run again, once for all tests: a rerun goes on where it stood."""
    return tmp_path_factory.mktemp("again") / "check"


@pytest.fixture
def check(sent, again, tmp_path, capsys):
    """Run a submission again; returns the exit code and what was said."""

    def run(*more, model=None, change=None, out=again):
        file = sent[1]
        if change:
            content = json.loads(file.read_text(encoding="utf-8"))
            change(content)
            file = tmp_path / "changed.json"
            file.write_text(json.dumps(content), encoding="utf-8")
        given = ["verify", str(file), str(model or sent[0]), "--workers", "1"]
        code = main([*given, "--out", str(out), *more])
        shown = capsys.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    return run


def test_a_submission_says_what_ran_and_runs_again_to_the_bit(sent, check):
    """Who, digest, seed, sizes, software; then every figure equal, exit code 0."""
    model, file = sent
    submission = read_submission(file)
    assert (submission.name, submission.by) == ("nothing learnt", "me@example.org")
    (record,) = submission.models
    assert record.sha256 == sha256(model.read_bytes()).hexdigest()
    assert (submission.asked.seed, submission.asked.plexe_draws) == (int(SEED), 2)
    assert submission.software.packages["libsumo"]
    assert {r.driver for r in submission.results} == {"policy", "CTH 1.1 s"}

    code, said = check()
    assert code == 0
    assert "figures must be equal" in said
    assert re.search(r"(\d+) rows: \1 equal, 0 within intervals, 0 differs", said)


def test_false_figures_are_found(check):
    """A model's in a test, and a baseline's beside it: by a thousandth."""

    def better(content):
        figure = content["rows"][0]["found"]["policy"]["figure"]
        figure["value"] = round(figure["value"] - 0.001, 6)
        content["results"][1]["figures"]["gain_at_fundamental"]["value"] += 0.001

    code, said = check(change=better)
    assert code == 1
    assert "2 differs" in said


def test_with_other_software_intervals_must_overlap(check):
    """A thousandth is nothing there; a gain that is half as large is found."""

    def elsewhere(content):
        content["software"]["version"] = "0.0.1"
        content["results"][1]["figures"]["gain_at_fundamental"]["value"] += 0.001

    code, said = check(change=elsewhere)
    assert code == 0
    assert "other software" in said
    assert "1 within intervals" in said

    def false(content):
        elsewhere(content)
        content["results"][1]["figures"]["gain_at_fundamental"] |= {
            "value": 0.15,
            "low": 0.1,
            "high": 0.2,
        }

    code, said = check(change=false)
    assert (code, "1 differs" in said) == (1, True)


def test_a_few_cases_show_that_it_can_be_rerun_and_compare_nothing(check, tmp_path):
    """An honest recipe is not refuted by other cases."""

    def many(content):
        content["asked"] |= {"quick": False, "plexe_draws": 40}
        content["results"][1]["figures"]["gain_at_fundamental"] |= {
            "value": 0.15,
            "low": 0.1,
            "high": 0.2,
        }

    code, said = check("--quick", change=many, out=tmp_path / "few")
    assert (code, "can be rerun, and no figure is compared" in said) == (0, True)


class Hostile:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        """What a pickle runs."""
        return Path.touch, (self.mark,)


def test_a_model_that_would_run_code_is_refused(sent, check, tmp_path):
    """By its digest it is the submission's own; in every file of it is a program, and none runs."""
    mark, model = tmp_path / "ran", tmp_path / "hostile.zip"
    bomb = pickle.dumps(Hostile(mark))
    with zipfile.ZipFile(sent[0]) as good, zipfile.ZipFile(model, "w") as bad:
        for name in good.namelist():
            bad.writestr(name, bomb if name.endswith(".pth") else good.read(name))

    def own(content):
        content["models"][0]["sha256"] = sha256(model.read_bytes()).hexdigest()

    code, said = check(model=model, change=own)
    assert code == 2
    assert "its weights cannot be read" in said
    assert not mark.exists()
    pickle.loads(bomb)  # noqa: S301 (our own)
    assert mark.exists()  # it would have


def test_what_is_not_the_submissions_is_refused(check, tmp_path):
    """Another model, a baseline that is a file of the sender's, a part that was not measured."""
    out, other = tmp_path / "out", tmp_path / "other.zip"
    other.write_bytes(model_bytes(untrained_model(1, peer_embed_dim=16)))
    code, said = check(model=other, out=out)
    assert (code, "other.zip is no model of" in said) == (2, True)

    def foreign(content):
        content["asked"]["controllers"] = ["own@evil.py"]

    code, said = check(change=foreign, out=out)
    assert (code, "own@evil.py names a file" in said) == (2, True)
    code, said = check("--only", "ncap", out=out)
    assert (code, "has no such part" in said) == (2, True)
    assert not out.exists()
