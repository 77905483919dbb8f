"""The workflows: what they run is pinned, and a release is checked before it is published."""

import re
import shutil

import make
import pytest
import release
import yaml
from test_repository import ROOT

import minibert

FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
USES = re.compile(r"uses: +(\S+)(.*)")


@pytest.fixture(scope="module")
def jobs() -> dict:
    return yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))


def steps(job: dict) -> str:
    return "\n".join(str(step.get("uses", "")) + str(step.get("run", "")) for step in job["steps"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_one_version_each(path):
    found = USES.findall(path.read_text(encoding="utf-8"))
    assert found
    for action, said in found:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", said), f"{action}: its version, as a comment"
    every = {use for file in FILES for use in USES.findall(file.read_text(encoding="utf-8"))}
    assert len({action.split("@")[0] for action, _ in every}) == len(every)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_job_has_no_more_rights_than_it_needs_and_an_end(path):
    text = path.read_text(encoding="utf-8")
    flow = yaml.safe_load(text)
    assert "secrets." not in text and "pull_request_target" not in text
    assert flow["permissions"] in ({}, {"contents": "read"})
    for name, job in flow["jobs"].items():
        assert job["runs-on"] and (job.get("timeout-minutes") or name == "publish"), name
        for step in job["steps"]:
            assert "${{ github." not in step.get("run", ""), "by env: what is pushed is no code"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
            for tool in re.findall(r"tools/\w+\.py", step.get("run", "")):
                assert (ROOT / tool).is_file()


def test_a_release_is_built_checked_tested_and_only_then_published(jobs):
    assert jobs[True] == {"push": {"tags": ["v*"]}}  # YAML reads `on` so
    build, wheel, publish = (jobs["jobs"][name] for name in ("build", "wheel", "publish"))
    wanted = ("tools/release.py", "-m build", "twine check --strict dist/*", "actions/attest")
    assert make.TWINE in steps(build)
    places = [steps(build).index(one) for one in wanted]
    assert places == sorted(places)
    assert "MINIBERT_WHEEL=1 pytest" in steps(wheel) and wheel["needs"] == "build"
    assert publish["needs"] == "wheel" and publish["environment"]["name"] == "pypi"
    assert publish["permissions"] == {"id-token": "write"}  # trusted: no password anywhere
    assert publish["steps"][-1]["uses"].startswith("pypa/gh-action-pypi-publish@")
    assert "with" not in publish["steps"][-1]  # attestations are its default
    assert not [step for step in publish["steps"] if "run" in step]


def test_the_tag_the_version_and_the_changelog_agree(tmp_path):
    (tmp_path / "minibert").mkdir()
    for name in ("minibert/__init__.py", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    ours = f"v{minibert.__version__}"
    said = release.notes(ours, tmp_path)
    assert len(said) > 100 and "\n## " not in said and said == release.notes(ours)
    with pytest.raises(SystemExit, match=f"the tag is v99.0.0, the version {ours[1:]}"):
        release.notes("v99.0.0", tmp_path)
    log = tmp_path / "CHANGELOG.md"
    log.write_text(f"# Changelog\n\n## {ours[1:]}\n\n## 0.0.1\n\nOld.\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="says nothing of"):
        release.notes(ours, tmp_path)


def test_news_that_moves_a_claim_fails_the_weekly_build(monkeypatch):
    flow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))
    job = flow["jobs"]["claims"]
    assert flow[True]["schedule"] and "'schedule'" in job["if"]
    assert {"macos-latest", "ubuntu-24.04-arm"} & {*job["strategy"]["matrix"]["os"]}  # not x86
    assert "continue-on-error" not in str(job)
    asked = []
    monkeypatch.setattr(make, "module", lambda *arguments: asked.extend(arguments))
    make.notebooks()  # every output is compared, as with the pins
    assert f"python -m {' '.join(asked)}" in steps(job)
    assert "requirements" not in steps(job) and '-e ".[dev]"' in steps(job)  # the newest
    assert make.ENVIRONMENT.items() <= job["env"].items()
