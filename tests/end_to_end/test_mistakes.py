"""Bad input: one clear line, exit 2, nothing half written."""

import shlex
import shutil
from pathlib import Path

import pytest

TRAIN = "train --rule fa --data iris --net mlp --net.widths 8 --epochs 1"

MISTAKES = {
    # names
    "train --rule faa --data iris --net mlp": "unknown rule 'faa': did you mean 'fa'?",
    "train --rule fa --data irs --net mlp": "unknown data set 'irs': did you mean 'iris'?",
    "train --rule fa --data iris --net mpl": "unknown net 'mpl': did you mean 'mlp'?",
    "train --rule FA --data iris --net mlp": "unknown rule 'FA': did you mean 'fa'?",
    "rules mine.py:Recurrent": "is no rule: expected a class derived from biograd.Rule",
    "nets mine.py:Scaled": "is no net: expected a torch.nn.Module",
    f"{TRAIN} --net.widths 3,,4": "setting 'widths.1' got ''",
    "train --rule no.py:Rule --data iris --net mlp": "there is no file",
    "train --rule mine.py:Nothing --data iris --net mlp": "defines no 'Nothing'",
    "train --rule mine.py:Unread --data iris --net mlp": "an annotation of Unread cannot be read: NameError",
    "train --rule fa --data iris": "no net is given",
    "train --rule fa --net mlp --data houses.csv --data.target y": "of your own: give it as 'table:houses.csv'",
    "train --rule fa --net mlp --data no/x.npz": "of your own: give it as 'arrays:no/x.npz'",
    "train --rule fa --net mlp --data x.txt": "of your own: give it as 'text:x.txt'",
    "train --rule fa --net mlp --data .": "of your own: give it as 'folder:.'",
    "data houses.csv": "of your own: give it as 'table:houses.csv'",
    "train --rule fa --data iris --net mlp --lr 1 --optimizer.lr 2": "the command line: lr is 1 and",
    "compare --rules fa --data iris --net mlp --lr 1 --optimizer.lr 2": "the command line: lr is 1 and",
    "train": "no rule is given",
    f"{TRAIN} --optimizer admw": "did you mean 'adamw'?",
    f"{TRAIN} --optimizer lbfgs": "'lbfgs' cannot train here",
    f"{TRAIN} --schedule cos": "did you mean 'cosine'?",
    # flags
    f"{TRAIN} --ephocs 3": "unknown flag --ephocs: did you mean --epochs?",
    f"{TRAIN} --ep 3": "unknown flag --ep",
    f"{TRAIN} --warm-up 3": "settings are written --rule.NAME",
    f"{TRAIN} --scale 2": "unknown flag --scale: did you mean --rule.scale?",
    f"{TRAIN} --weight-decay 3": "unknown flag --weight-decay: did you mean --optimizer.weight-decay?",
    f"{TRAIN} --activation relu": "did you mean --net.activation?",
    f"{TRAIN} --penalty decay --strength=.1": "did you mean --penalty.strength?",
    "train --rule mine.py:Scaled --factor 3": "did you mean --rule.factor?",
    "compare --rules bp,fa,dfa --data iris --net mlp --scale 3": "did you mean --rule.fa.scale or --rule.dfa.scale?",
    "compare --rules bp,fa,fa --scale 3": "did you mean --rule.fa.scale?",
    "train --rule mine.py:Unread --scale 3": "unknown flag --scale",
    "train --rule faa --scale 3": "unknown flag --scale",
    f"{TRAIN} --rules.scale 3": "did you mean --rule.scale?",
    f"{TRAIN} --epochs": "--epochs expects a value",
    f"{TRAIN} extra": "takes no further argument, got extra",
    # settings
    f"{TRAIN} --rule.scal 2": "rule 'fa' has no setting 'scal'; its settings: scale",
    f"{TRAIN} --net.width 2": "net 'mlp' has no setting 'width'; its settings: widths",
    f"{TRAIN} --rule.scale big": "'scale' got 'big'",
    f"{TRAIN} --rule.scale -1": "'scale' got '-1': expected a number greater than 0",
    f"{TRAIN} --net.widths 8,0": "greater than 0",
    f"{TRAIN} --optimizer.momentum 0.9": "optimizer 'adam' has no setting 'momentum'",
    # sizes and numbers
    f"{TRAIN} --epochs 0": "epochs got '0'",
    f"{TRAIN} --epochs -1": "epochs got '-1'",
    f"{TRAIN} --epochs 1.5": "epochs got '1.5'",
    f"{TRAIN} --batch-size 0": "batch_size got '0'",
    f"{TRAIN} --batch-size -5": "batch_size got '-5'",
    f"{TRAIN} --lr fast": "'lr' got 'fast'",
    f"{TRAIN} --lr -1e-3": "'lr' got '-1e-3'",
    f"{TRAIN} --lr nan": "'lr' got 'nan'",
    f"{TRAIN} --seed -1": "seed got '-1'",
    f"{TRAIN} --threads 0": "threads got '0'",
    f"{TRAIN} --validation-fraction 1": "validation_fraction got '1'",
    f"{TRAIN} --clip-norm 0": "clip_norm got '0'",
    f"{TRAIN} --precision float16": "precision got 'float16'",
    # data
    f"{TRAIN} --one-vs-rest tulip": "iris has no class 'tulip'",
    f"{TRAIN} --one-vs-rest 3": "iris has no class '3'",
    f"{TRAIN} --data-dir nowhere": "nowhere does not exist",
    f"{TRAIN} --data-dir mine.py": "mine.py is a file",
    "data cash": "unknown data set 'cash'",
    "data cache --data-dir nowhere": "does not exist",
    # devices
    f"{TRAIN} --device cuda:99": "device 'cuda:99' is not there",
    f"{TRAIN} --device gpu": "device got 'gpu'",
    # nets that a rule cannot teach
    "train --rule fa --data iris --net mine.py:Scores": "cannot reach 'score' (Bilinear)",
    "train --rule fa --data iris --net mine.py:Checkpointed": "activation checkpointing",
    "train --rule dfa --data iris --net mine.py:Recurrent": "must be a chain",
    "compare --rules bp,dfa --data iris --net mine.py:Recurrent": "must be a chain",
    "compare --rules bp,fa --data iris --net mine.py:Checkpointed": "activation checkpointing",
    "train --rule fa --data iris --net convnet": "convnet",
    # configuration files
    f"{TRAIN} --config nowhere.toml": "cannot read nowhere.toml: No such file or directory; expected a config",
    f"{TRAIN} --config mine.py": "mine.py is not valid TOML",
    f"{TRAIN} --config .": "Is a directory",
    f"{TRAIN} --config unknown-key.toml": "unknown-key.toml has an unknown key 'epoch': did you mean 'epochs'?",
    f"{TRAIN} --config unknown-setting.toml": "rule 'fa' has no setting 'scal'",
    # folders
    f"{TRAIN} --out mine.py": "mine.py is a file",
    f"{TRAIN} --out mine.py/run": "mine.py is a file",
    f"{TRAIN} --out .": "not empty",
    "compare --rules bp,fa --data iris --net mlp --out mine.py": "mine.py is a file",
    "demo --out mine.py/demo": "mine.py is a file",
    "resume nowhere": "nowhere is no run's folder",
    "resume .": "no run's folder",
    "resume": "needs RUN",
    "report nowhere": "there is no folder nowhere",
    "report .": "there is no run in .",
    # the other commands
    "compare --rules bp,bp --data iris --net mlp": "--rules: 'bp' is given twice",
    "compare --rules bp,,fa --data iris --net mlp": "--rules: expected names separated by commas",
    "compare --rules bp,faa --data iris --net mlp": "unknown rule 'faa'",
    "compare --rules bp,fa --data iris --net mlp --seeds 0": "--seeds: expected a whole number ≥ 1, got '0'",
    "compare --rules bp,fa --data iris --net mlp --jobs 0": "--jobs: expected a whole number ≥ 1, got '0'",
    "compare --rules bp,fa --data iris --net mlp --rule.scale 2": "write --rule.RULE.scale, RULE one of bp, fa",
    "compare --rules bp,fa --data iris --net mlp --rule.kp.scale 2": "rule 'kp' is not among those compared",
    "compare --data iris --net mlp": "needs --rules",
    "bench --rules fa --nets mpl": "unknown benchmark net 'mpl'",
    "bench --rules faa": "unknown rule 'faa'",
    "bench --repeats 0": "--repeats: expected a whole number ≥ 1, got '0'",
    "rules faa": "unknown rule 'faa'",
    "nets mpl": "unknown net 'mpl'",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_told_in_one_line_and_leaves_nothing_behind(biograd, folder: Path, line):
    (folder / "unknown-key.toml").write_text("epoch = 3\n")
    (folder / "unknown-setting.toml").write_text('[rule]\nname = "fa"\nscal = 3\n')
    before = sorted(folder.rglob("*.*"))
    mistake = biograd(*shlex.split(line)).mistake
    assert mistake.startswith(f"biograd {line.split()[0]}: ")
    assert MISTAKES[line] in mistake
    left = [path for path in folder.rglob("*") if "__pycache__" not in path.parts]
    assert sorted(left) == before


def test_data_that_is_missing_and_cannot_be_fetched(biograd, folder: Path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr("socket.socket.connect", refuse)
    (folder / "data").mkdir()
    mistake = biograd("train --rule bp --data mnist --net mlp --data-dir data").mistake
    assert f"mnist is not in {folder}/data: " in mistake
    assert "--data-dir" in mistake
    assert sorted(path.name for path in folder.iterdir() if path.name != "__pycache__") == ["data", "mine.py"]


@pytest.fixture
def finished(biograd, folder: Path) -> Path:
    assert biograd(f"{TRAIN} --out run").code == 0
    return folder / "run"


def test_a_folder_that_holds_a_run_is_left_alone(biograd, finished: Path):
    before = {path: path.read_bytes() for path in finished.iterdir()}
    assert "run holds a run already" in biograd(f"{TRAIN} --out run").mistake
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


def test_a_corrupted_checkpoint_is_told_and_left(biograd, finished: Path):
    (finished / "result.json").unlink()
    checkpoint = finished / "checkpoint.safetensors"
    broken = bytearray(checkpoint.read_bytes())
    broken[-20] ^= 1
    checkpoint.write_bytes(broken)
    assert "checkpoint.safetensors is damaged" in biograd("resume run").mistake
    assert checkpoint.read_bytes() == broken


def test_a_checkpoint_of_another_net_is_refused(biograd, finished: Path):
    assert biograd(f"{TRAIN} --net.widths 9 --out other").code == 0
    shutil.copy(finished.parent / "other" / "checkpoint.safetensors", finished / "checkpoint.safetensors")
    (finished / "result.json").unlink()
    assert "was made with another configuration" in biograd("resume run").mistake


def test_a_corrupted_configuration_is_told(biograd, finished: Path):
    (finished / "config.json").write_text("{")
    for command in ("resume run", "report run"):
        assert "config.json: not valid JSON" in biograd(command).mistake


def test_a_garbled_last_line_of_a_finished_run_is_told(biograd, finished: Path):
    with (finished / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "st')
    assert "metrics.jsonl line 2: not valid JSON; restore the file" in biograd("report run").mistake
