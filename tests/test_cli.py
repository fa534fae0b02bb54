"""The command line: every command has help and examples that parse, errors are one line, and every end has its code."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import evaluate_model
from twelvelead import __version__
from twelvelead.cli import EXAMPLES, build_parser, main
from twelvelead.console import BROKEN_PIPE, EXIT_CODES, FAILED, INTERRUPTED, TERMINATED, run_command
from twelvelead.errors import UserError
from twelvelead.evaluation.metrics import METRICS
from twelvelead.evaluation.options import YEARS
from twelvelead.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent
every_command = pytest.mark.parametrize("command", EXAMPLES)


def twelvelead(*arguments: str, **options) -> subprocess.Popen:
    """A process of the command line. Standard output is buffered, as it is for anyone who pipes it into a file."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "twelvelead", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **options)


# -- help ------------------------------------------------------------------------------------------


def test_help_names_every_command_and_every_exit_code(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and EXIT_CODES in text and all(f"    {command}" in text for command in EXAMPLES)
    assert all(f"  {code} " in EXIT_CODES for code in (0, 1, FAILED, INTERRUPTED, BROKEN_PIPE, TERMINATED))


@every_command
def test_every_command_has_help_with_examples_that_parse(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and EXAMPLES[command] in text and EXIT_CODES in text
    for line in EXAMPLES[command].strip().splitlines():
        words = shlex.split(line)
        words = words[words.index("twelvelead") + 1 :]  # variables may stand before the program's name
        words = words[: words.index(">")] if ">" in words else words
        assert words[0] == command and build_parser().parse_args(words).command == command


def test_the_examples_are_of_all_commands():
    with pytest.raises(SystemExit):
        build_parser().parse_args(["no-such-command"])
    assert set(EXAMPLES) == set(build_parser()._subparsers._group_actions[0].choices)


def test_the_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out == f"twelvelead {__version__}\n"


def test_the_recipes_are_listed_one_line_each(capsys):
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(RECIPES)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_completion_script_of_a_shell_names_every_command(shell, capsys):
    pytest.importorskip("shtab", reason="needs the extra `completion`")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in EXAMPLES)
    assert "--time-budget-hours" in script or shell == "tcsh"  # where shtab completes no options of commands


def test_bash_completes_a_command_by_the_script(tmp_path, capsys):
    pytest.importorskip("shtab", reason="needs the extra `completion`")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    ask = 'source ./script; COMP_WORDS=(twelvelead pref); COMP_CWORD=1; _shtab_twelvelead; echo "${COMPREPLY[@]}"'
    run = subprocess.run(["bash", "-c", ask], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.split() == ["preflight"], run.stderr


def test_without_the_package_of_completions_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == FAILED
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "twelvelead[completion]" in error


# -- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "COMMAND"),
        (["trian", "D", "M"], "invalid choice: 'trian'"),
        (["train", "D"], "MODEL"),
        (["train", "D", "M", "--members", "many"], "invalid int value: 'many'"),
        (["train", "D", "M", "--epochen", "3"], "--epochen"),
        (["evaluate", "L", "O", "--year", "1999"], "1999"),
        (["evaluate", "L", "O", "--resample-by", "source"], "--by-source"),
    ],
)
def test_a_wrong_option_is_one_line_that_names_it(arguments, words, capsys):
    with pytest.raises(SystemExit) as stop:
        sys.exit(main(arguments))
    error = capsys.readouterr().err
    assert stop.value.code == FAILED and error.count("\n") == 1 and words in error and error.startswith("twelvelead")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "nowhere", "M"], "nowhere"),
        (["train", "nowhere", "M", "--members", "0"], "more than 0"),
        (["train", "nowhere", "M", "--recipe", "bytt"], "bytt"),
        (["classify", "nowhere", "D", "O"], "nowhere"),
        (["evaluate", "nowhere", "O"], "nowhere"),
        (["crossval", "nowhere", "O"], "nowhere"),
        (["holdout", "D", "O", "--test-groups", "nowhere.csv"], "nowhere.csv"),
        (["synthesize", "F", "--hospitals", "gotham"], "gotham"),
        (["draw", "nowhere.hea", "x.png"], "nowhere.hea"),
    ],
)
def test_a_users_fault_is_one_line_that_names_it(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == FAILED
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and error.startswith(f"twelvelead {arguments[0]}: ")


@pytest.mark.parametrize("arguments", [["--debug", "train", "nowhere", "m"], ["train", "--debug", "nowhere", "m"]])
def test_debug_shows_the_traceback_on_either_side_of_the_command(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == FAILED
    error = capsys.readouterr().err
    assert (
        error.startswith("Traceback") and "UserError" in error and error.splitlines()[-1].startswith("twelvelead train")
    )


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_command("twelvelead test", lambda: 1 // 0)


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate_is_evaluate_model(hospital, tmp_path, monkeypatch, capsys):
    """Same bytes printed and written; a bare --by-source may stand before the label folder."""
    codes = ["426783006", "164889003"]
    for number, header in enumerate(sorted(hospital.rglob("*.hea"))):
        path = tmp_path / "outputs" / header.relative_to(hospital).with_suffix(".csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#{header.stem}\n{','.join(codes)}\n1,{number % 2}\n0.9,0.{number % 10}\n")
    results = []
    for run in (evaluate_model.main, lambda options: main(["evaluate", *options])):
        folder = tmp_path / str(len(results))
        folder.mkdir()
        monkeypatch.chdir(folder)
        options = [
            "--by-source",
            hospital,
            tmp_path / "outputs",
            "s.csv",
            "c.csv",
            "--bootstrap",
            "20",
            "--json",
            "x.json",
        ]
        assert run([str(option) for option in options]) == 0
        results.append((*capsys.readouterr(), {path.name: path.read_bytes() for path in folder.iterdir()}))
    assert results[0] == results[1] and set(results[0][2]) == {"s.csv", "c.csv", "x.json"}
    assert len(json.loads(results[0][2]["x.json"])["sources"]) == 2


def test_the_years_to_choose_from_are_those_with_metrics():
    assert tuple(METRICS) == YEARS


# -- interruptions and streams ---------------------------------------------------------------------


def raising(error: BaseException):
    def work() -> int:
        raise error

    return work


@pytest.mark.parametrize(
    "error, code, line",
    [
        (UserError("x.hea: no"), FAILED, "twelvelead test: x.hea: no\n"),
        (KeyboardInterrupt(), INTERRUPTED, "twelvelead test: interrupted\n"),
        (OSError(28, "No space left on device", "w.csv"), FAILED, "twelvelead test: w.csv cannot be written: no space"),
    ],
)
def test_every_end_has_its_code_and_one_line(error, code, line, capsys):
    assert run_command("twelvelead test", raising(error)) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(line) and printed.err.count("\n") == 1


def test_sigterm_ends_a_command_and_the_handler_is_given_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    cleaned = []

    def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        except Exception:  # an ordinary handler must not catch it
            return 0
        finally:
            cleaned.append(True)
        return 0

    assert run_command("twelvelead test", work) == TERMINATED and cleaned
    assert capsys.readouterr().err == "twelvelead test: terminated\n"
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent, code, word", [("SIGINT", INTERRUPTED, "interrupted"), ("SIGTERM", TERMINATED, "terminated")]
)
def test_a_process_that_is_stopped_says_so_in_one_line(sent, code, word, tmp_path):
    process = twelvelead("synthesize", tmp_path, "--count", "100000", stderr=subprocess.PIPE)
    while not list(tmp_path.rglob("*.hea")) and process.poll() is None:  # it is at work
        time.sleep(0.05)
    process.send_signal(getattr(signal, sent))
    assert process.communicate()[1] == f"twelvelead synthesize: {word}\n" and process.returncode == code


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_a_command_quietly():
    process = twelvelead("recipes", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()  # before it writes, since it needs some time to start
    assert process.stderr.read() == "" and process.wait() == BROKEN_PIPE


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    with open("/dev/full", "w") as full:
        process = twelvelead("recipes", stdout=full, stderr=subprocess.PIPE)
        error = process.communicate()[1]
    assert process.returncode == FAILED and error.count("\n") == 1 and "no space left" in error


@pytest.mark.slow
def test_a_closed_stderr_does_not_send_errors_to_standard_output(tmp_path):
    command = f"{shlex.quote(sys.executable)} -m twelvelead train {shlex.quote(str(tmp_path / 'nowhere'))} m 2>&-"
    run = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (FAILED, "", "")
