"""The environment says which code ran, and never claims a commit that is not the package's."""

import json
import subprocess
import sys

import numpy
import torch

import biograd
from biograd.records import environment
from biograd.records.environment import _checkout


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


def package_in_a_checkout(tmp_path):
    package = tmp_path / "src" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return package


def test_versions_threads_and_switches_are_those_of_this_process():
    here = environment()
    assert here["biograd"] == biograd.__version__
    assert here["torch"] == torch.__version__
    assert here["numpy"] == numpy.__version__
    assert here["python"] == ".".join(map(str, sys.version_info[:3]))
    assert here["threads"] == torch.get_num_threads()
    assert here["cores"] >= 1
    assert here["cpu"]
    assert here["deterministic"] is torch.are_deterministic_algorithms_enabled()
    assert json.loads(json.dumps(here)) == here


def test_a_clean_checkout_gives_its_commit(tmp_path):
    package = package_in_a_checkout(tmp_path)
    assert _checkout(package) == (git(tmp_path, "rev-parse", "HEAD"), False)


def test_a_changed_or_new_file_of_the_package_is_dirty_and_one_elsewhere_is_not(tmp_path):
    package = package_in_a_checkout(tmp_path)
    (tmp_path / "notes").write_text("x")
    assert _checkout(package)[1] is False
    (package / "new.py").write_text("x")
    assert _checkout(package)[1] is True


def test_an_installed_package_does_not_take_the_commit_of_the_project_around_it(tmp_path):
    package_in_a_checkout(tmp_path)
    installed = tmp_path / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert _checkout(installed) == (None, None)


def test_a_git_hook_around_the_process_does_not_redirect_it(tmp_path, monkeypatch):
    package = package_in_a_checkout(tmp_path)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    assert _checkout(package)[1] is False


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    package = package_in_a_checkout(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _checkout(package) == (None, None)


def test_importing_records_does_not_import_torch():
    code = "import sys, biograd.records; assert not {'torch', 'pydantic', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
