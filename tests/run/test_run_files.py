"""What a command may replace, who may write into a folder, and how a command ends when it is stopped or cut off."""

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import libasis
import libasis_command
from libasis.run import toml
from run.answers import ok, refused
from store.sabotage import WRITES, Saboteur

SOURCE = Path(libasis.__file__).parents[1]


@pytest.fixture
def graph(command, settings):
    ok(command("graph"))


def made_no_work(code):
    """Whether the user's module was not even imported."""
    return code not in sys.modules


# files of other people


def foreign(folder, code):
    """Paths that are no page and no export, and how to see that they are as before."""
    (folder / "notes.html").write_text("<p>mine</p>")
    (folder / "empty.html").write_text("")
    (folder / "link.html").symlink_to("notes.html")
    (folder / "nowhere.html").symlink_to("none.html")
    (folder / "folder.html").mkdir()
    os.mkfifo(folder / "pipe.html")
    names = [f"{code}.py", "libasis.toml", "libasis-run/graph/manifest.json", "libasis-run/graph/tensors.safetensors"]
    return [*names, "notes.html", "empty.html", "link.html", "nowhere.html", "folder.html", "pipe.html", "/dev/null"]


def state(folder):
    """Which files there are, and when each was written."""
    found = {path: path.lstat() for path in folder.rglob("*") if "__pycache__" not in path.parts}
    return {path: (facts.st_ino, facts.st_mtime_ns) for path, facts in found.items() if not stat.S_ISDIR(facts.st_mode)}


def test_a_page_replaces_nothing_of_someone_else(folder, command, graph, code):
    before = None
    for path in foreign(folder, code):
        before = before or state(folder)
        refused(command("report", "--set", f"report.path={path}"), f"{path}", "not replaced")
    assert state(folder) == before
    assert not (folder / "libasis-run" / "cards").exists()  # refused before any work
    assert not (folder / "none.html").exists()


@pytest.mark.parametrize("kind", ["csv", "graphml", "json", "attribution"])
def test_an_export_replaces_nothing_of_someone_else(folder, command, graph, code, kind):
    before = None
    for path in foreign(folder, code):
        before = before or state(folder)
        if kind != "csv":
            refused(command("export", "--format", kind, "--to", "first.json", "--to", path), f"{path}", "not replaced")
        elif path != "folder.html":  # a folder of tables may have any name
            refused(command("export", "--format", kind, "--to", "first", "--to", path), path)
    assert state(folder) == before
    assert not (folder / "first.json").exists()
    assert not (folder / "first").exists()  # all are refused before one is written


def test_a_difference_replaces_nothing_of_someone_else(folder, command, graph, code):
    for path in foreign(folder, code):
        refused(command("diff", "libasis-run", "libasis-run", "--out", path), path, "not replaced")
    (folder / "graph.json").write_text("{}")
    refused(command("diff", "libasis-run", "libasis-run", "--out", "graph.json"), "graph.json exists and was not")


def test_own_files_are_replaced_and_keep_their_permissions(folder, command, graph):
    ok(command("report", "--set", "report.cards=false"))
    page = folder / "libasis-run" / "report.html"
    page.chmod(0o600)
    ok(command("report", "--set", "report.cards=false", "--set", "report.title=Again"))
    assert "Again" in page.read_text()
    assert page.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("verb", ["fit", "graph"])
def test_settings_of_someone_else_in_the_output_folder(folder, command, settings, code, verb):
    (folder / "config.toml").write_text("mine = true")
    refused(command(verb, "--set", "output=.", "--force"), "config.toml exists and was not written by libasis")
    assert (folder / "config.toml").read_text() == "mine = true"
    assert made_no_work(code)
    assert not (folder / "basis").exists()


@pytest.mark.parametrize("name", ["compare.json", "edges.csv", "features.csv", "figures/nodes.svg"])
def test_files_of_someone_else_where_a_comparison_is_written(folder, command, settings, code, name):
    (folder / "out" / name).parent.mkdir(parents=True)
    (folder / "out" / name).write_text("method,section\n")
    refused(command("compare", "--out", "out", "--force"), f"{name} exists and was not written by libasis")
    assert made_no_work(code)


@pytest.mark.parametrize("name", ["sensitivity.json", "sensitivity.csv", "figures/sensitivity.svg"])
def test_files_of_someone_else_where_a_sensitivity_is_written(folder, command, settings, code, name):
    (folder / "out" / name).parent.mkdir(parents=True)
    (folder / "out" / name).write_text("varied,value\n")
    refused(command("sensitivity", "--out", "out"), f"{name} exists and was not written by libasis")
    assert made_no_work(code)


def test_a_demo_replaces_nothing_of_someone_else(folder, command):
    (folder / "libasis-demo").mkdir()
    (folder / "libasis-demo" / "report.html").write_text("mine")
    refused(command("demo", "digits", "--force"), "report.html exists and was not written by libasis")
    assert os.listdir("libasis-demo") == ["report.html"]


# one command at a time, and its settings


def test_a_second_command_in_a_folder_is_refused(folder, command, settings, code):
    pytest.importorskip("fcntl")
    hold = "import fcntl, os; h = os.open('libasis-run', 0); fcntl.flock(h, 2); print(1, flush=True); input()"
    (folder / "libasis-run").mkdir()
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    for verb in ("fit", "graph", "ablate", "report", "compare", "sensitivity"):
        refused(command(verb), "Another process is writing to libasis-run; wait until it is done")
    refused(command("demo", "--out", "libasis-run"), "Another process is writing")
    assert made_no_work(code)
    assert os.listdir("libasis-run") == []
    other.kill()  # the lock ends with the process
    other.wait()
    ok(command("fit"))


def test_settings_stand_in_their_result_and_are_restored(folder, command, graph):
    config = folder / "libasis-run" / "config.toml"
    first = config.read_text()
    assert libasis.load("libasis-run/graph").info["config"] == libasis.load("libasis-run/basis").info["config"] == first
    config.unlink()
    for name in (".libasis-0123456789abcdef.tmp", "basis/.libasis-0123456789abcdef.tmp"):
        (folder / "libasis-run" / name).write_text("half")
    ok(command("report", "--set", "report.cards=false", "--set", "report.title=Mine"))
    assert config.read_text() == first
    assert not list(folder.rglob(".libasis-*"))
    ok(command("ablate", "--set", "ablate.max_drop=0.5"))
    assert config.read_text() == libasis.load("libasis-run/ablation").info["config"] != first


def test_a_command_that_fails_leaves_the_settings(folder, command, graph, monkeypatch):
    config = folder / "libasis-run" / "config.toml"
    first, done = config.read_text(), False
    for allowed in range(60):
        with monkeypatch.context() as patch:
            saboteur = Saboteur(patch, allowed, error=OSError(errno.ENOSPC, "No space left on device"), calls=WRITES)
            code, _, err = command("fit", "--force", "--set", "fit.method=pca", "--set", "fit.memory=2000000")
        saboteur.bury()
        done = done or code == 0
        if not done:
            assert (code, err.count("\n")) == (2, 1)
            assert "No space left on device." in err
        new = libasis.load("libasis-run/basis").method == "pca"
        assert not config.exists() or (config.read_text() == first) != new
        if new:
            break
    assert new


def test_an_empty_folder_made_for_a_command_that_fails_is_removed(folder, command, settings):
    refused(command("fit", "--set", 'sites=["no", "output"]', "--set", "output=a/b/c"), "'no")
    assert not (folder / "a").exists()
    (folder / "mine").mkdir()
    refused(command("fit", "--set", 'sites=["no", "output"]', "--set", "output=mine"), "'no")
    assert (folder / "mine").is_dir()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("verb", ["fit", "graph", "report", "export"])
def test_a_disk_that_cannot_be_written_is_told_before_any_work(
    folder, command, settings, code, monkeypatch, verb, number
):
    arguments = {"report": ["--set", "report.path=page.html"], "export": ["--to", "graph.json"]}.get(verb, [])
    (folder / "libasis-run").mkdir()
    with monkeypatch.context() as patch:
        saboteur = Saboteur(patch, 0, error=OSError(number, os.strerror(number)), calls=("write",))
        refused(command(verb, *arguments), f"cannot be written: {os.strerror(number)}.")
    assert saboteur.done
    assert made_no_work(code)
    assert not list(folder.rglob(".libasis-*"))


# how a command ends


STOPPING = """
import os, signal
def model():
    os.kill(os.getpid(), signal.{name})
    while True:
        pass
"""


def heeded(name):
    """The number of a signal; the test is skipped where it is ignored, which libasis leaves as it is."""
    number = getattr(signal, name)
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{name} is ignored here, as in the background of a shell")
    return number


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_a_command_in_one_sentence(folder, command, graph, name):
    (folder / f"stopping_{name}.py").write_text(STOPPING.format(name=name))
    number = heeded(name)
    before, handlers = state(folder), [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    code, out, err = command("graph", "--force", "--set", f"model.source=stopping_{name}:model")
    assert (code, out, err) == (128 + number, "", "Stopped.\n")
    assert state(folder) == before
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_libasis_is_imported(tmp_path, name):
    number = heeded(name)
    (tmp_path / "torch.py").write_text("import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}"}
    process = subprocess.Popen(
        [sys.executable, "-m", "libasis_command", "sites"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "importing\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (128 + number, "", "Stopped.\n")


def ended(prepare, *arguments):
    """Exit code and stderr of the command in a child whose streams were changed, as if it had been started so."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        prepare()
        for number, name in ((0, "stdin"), (1, "stdout"), (2, "stderr")):
            try:
                os.fstat(number)
                stream = os.fdopen(number, "w" if number else "r", closefd=False)
            except OSError:
                stream = None
            setattr(sys, name, stream)
        sys.argv[1:] = arguments
        code = 1
        try:
            libasis_command.main()
        except SystemExit as end:
            code = end.code
            for stream in (sys.stdout, sys.stderr):  # as the interpreter does
                try:
                    stream.flush()
                except OSError:
                    code = 120
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as file:
        err = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), err


def onto(path, *numbers):
    def prepare():
        handle = os.open(path, os.O_WRONLY)
        for number in numbers:
            os.dup2(handle, number)

    return prepare


def reader_gone():
    reading, writing = os.pipe()
    os.close(reading)
    os.dup2(writing, 1)


needs_fork = pytest.mark.skipif(not Path("/dev/full").exists() or not hasattr(os, "fork"), reason="needs a Unix")


@needs_fork
def test_streams_that_are_closed_full_or_not_read(settings):
    full = "Reading or writing failed: No space left on device.\n"
    assert ended(onto("/dev/null", 1), "sites") == (0, "")
    assert ended(lambda: os.close(1), "sites") == (0, "")
    assert ended(lambda: os.closerange(0, 3), "sites") == (0, "")
    assert ended(lambda: os.closerange(0, 3), "sites", "--bad") == (2, "")
    assert ended(reader_gone, "sites") == (0, "")
    assert ended(reader_gone, "sites", "--json") == (0, "")
    assert ended(onto("/dev/full", 1), "sites") == (2, full)
    assert ended(onto("/dev/full", 1), "--help") == (2, full)
    assert ended(onto("/dev/full", 1, 2), "sites", "--bad") == (2, "")


@needs_fork
def test_files_never_get_the_number_of_a_closed_stream(folder, settings):
    assert ended(lambda: os.closerange(0, 3), "fit") == (0, "")
    assert libasis.load("libasis-run/basis").method == "lib"
    assert toml.read(folder / "libasis-run" / "config.toml")["fit"]["method"] == "lib"


def test_without_a_console_python_calls_work_too(tiny, monkeypatch):
    x = __import__("torch").randn(20, 3)
    monkeypatch.setattr(sys, "stderr", None)
    traced = libasis.trace(tiny, x, ["fc1:in", "output"])
    assert len(libasis.fit(traced, [x])) == 2
