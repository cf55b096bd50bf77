"""The command line: ``deconv deblur``, ``blind``, ``compare``, ``sharpness``, ``psf`` and more."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from deconv import batch, io, methods
from deconv.compare_cli import compare, crop_slices
from deconv.methods import Method
from deconv.progress import History, State
from deconv.psf import files as psf_files
from deconv.sharpness_cli import sharpness

__all__ = ["app", "main"]

# What typer returns after Ctrl-C, as shells do.
INTERRUPTED = 130

app = typer.Typer(
    help="Restore blurred pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 some files failed, 2 bad input."""
    try:
        code = app(arguments, prog_name="deconv", standalone_mode=False)
    # An ImportError: an extra that is not installed.
    except (ValueError, TypeError, OSError, ImportError) as error:
        _say(error)
        return 2
    # typer's own errors (an unknown option, a missing argument) share only this interface.
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        _say(f"{error.format_message()} (try deconv --help)")
        return int(getattr(error, "exit_code", 2))
    if code == INTERRUPTED:
        _say("stopped; what was finished is kept, and the same command resumes")
    return int(code or 0)


def _say(message: object) -> None:
    """One line on stderr, whatever the message."""
    print("deconv:", " ".join(str(message).split()), file=sys.stderr)


def _show_version(asked: bool) -> None:
    if asked:
        import deconv

        print(deconv.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


Spec = Annotated[
    str,
    typer.Argument(help="gaussian:2, motion:15,30, defocus:4, airy:..., trajectory:25, fit:motion"),
]


Inputs = Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures or folders.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="A file, or a folder that exists.")]
MethodName = Annotated[str, typer.Option("--method", "-m", help="See: deconv methods.")]
Linear = Annotated[
    bool | None,
    typer.Option(
        "--linear/--no-linear",
        help="Restore in linear light; the default does so for photographs.",
    ),
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="See: deconv methods."),
]
Depth = Annotated[
    int | None, typer.Option(help="Write 8, 16 or 32 (float) bit; the input's otherwise.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Make outputs again that exist, even the inputs.")
]
Progress = Annotated[
    bool | None, typer.Option(help="Progress bars; the default shows them on a terminal.")
]


@app.command()
def deblur(
    inputs: Inputs,
    out: Out,
    psf: Annotated[
        str | None,
        typer.Option(
            help="gaussian:2, motion:15,30, defocus:4, fit:motion (found from the picture) or a "
            "file (png, tif, npy, mat)."
        ),
    ] = None,
    psf_from: Annotated[
        Path | None,
        typer.Option(
            help="A psf that was estimated, such as deconv blind --save-psf writes: its error "
            "counts as noise."
        ),
    ] = None,
    refine: Annotated[
        bool,
        typer.Option("--refine", help="Correct the psf, which is nearly right, by the picture."),
    ] = False,
    method: MethodName = "tv",
    sigma: Annotated[
        float | None,
        typer.Option(help="Noise standard deviation in the file's units; found when left out."),
    ] = None,
    boundary: Annotated[str, typer.Option(help="unknown, periodic or zero.")] = "unknown",
    linear: Linear = None,
    param: Param = None,
    depth: Depth = None,
    overwrite: Overwrite = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a figure of how the iterations converged.")
    ] = None,
    progress: Progress = None,
) -> None:
    """Restore pictures; with several, outputs that exist are skipped and failures are listed."""
    if psf_from is not None:
        if psf is not None:
            raise ValueError(f"--psf {psf} and --psf-from {psf_from} are both given; expected one")
        if not psf_from.is_file():
            raise FileNotFoundError(f"{psf_from} of --psf-from does not exist")
        psf = str(psf_from)
    job = batch.Job(
        method=methods.get(method),
        psf=psf,
        sigma=sigma,
        boundary=boundary,
        linear=linear,
        parameters=(batch.for_estimated(methods.get(method)) if psf_from or refine else {})
        | _parameters(param or []),
        depth=depth,
        say=_say,
        estimated=psf_from is not None,
        refine=refine,
    )
    job.check()
    _restore(inputs, out, job, overwrite, progress, plot)


def _restore(
    inputs: list[Path],
    out: Path,
    job: batch.Job,
    overwrite: bool,
    progress: bool | None,
    plot: Path | None = None,
) -> None:
    """Do the job for every input, with bars, a figure and a count of what was done."""
    if plot is not None and not plot.parent.is_dir():
        raise FileNotFoundError(f"the folder {plot.parent} of --plot does not exist")
    tasks = batch.plan(inputs, out, overwrite)
    failures = done = skipped = 0
    histories: dict[str, History] = {}
    history = History()
    with _bars(len(tasks), progress) as (advance, show):

        def callback(state: State) -> None:
            show(state)
            if plot is not None:
                history(state)

        for outcome in batch.run(tasks, job, overwrite=overwrite, callback=callback):
            advance()
            if history.iterations:
                histories[outcome.source.name] = history
            history = History()
            if outcome.error is not None:
                if len(tasks) == 1:
                    raise _as_input_error(outcome)
                failures += 1
                _say(f"{outcome.source}: {outcome.error or type(outcome.error).__name__}")
            elif outcome.skipped:
                skipped += 1
                if len(tasks) == 1:
                    _say(f"{outcome.target} exists; skipped (--overwrite makes it again)")
            else:
                done += 1
    if plot is not None:
        _plot(histories, plot)
    if len(tasks) > 1:
        _say(f"{done} restored, {skipped} skipped, {failures} failed")
    if failures:
        raise typer.Exit(1)


def _plot(histories: dict[str, History], path: Path) -> None:
    if not histories:
        _say(f"{path} not written: no iterations")
        return
    from deconv import figures

    figures.convergence(histories, path=path)
    for name, history in histories.items():
        if history.stopped:
            _say(f"{name}: {history.stopped}")


def _as_input_error(outcome: batch.Outcome) -> Exception:
    """The error itself; what is no complaint about the input keeps its traceback."""
    error = outcome.error
    assert error is not None
    known = isinstance(error, (ValueError, TypeError, OSError))
    if known and str(outcome.source) not in str(error) and str(outcome.target) not in str(error):
        return ValueError(f"{outcome.source}: {error}")
    return error


def _parameters(pairs: Sequence[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--param {pair!r}; expected name=value")
        found[name] = value
    return found


@contextlib.contextmanager
def _bars(
    count: int, show: bool | None
) -> Iterator[tuple[Callable[[], None], Callable[[Any], None]]]:
    """A bar over the files, if there are several, and one over the iterations of the solver."""
    from tqdm import tqdm

    # None leaves it to tqdm: no bar where stderr is not a terminal.
    hide = None if show is None else not show
    with (
        tqdm(total=count, unit="file", disable=True if count == 1 else hide) as files,
        tqdm(unit="it", desc="iterations", disable=hide, leave=False) as bar,
    ):

        def callback(state: Any) -> None:
            if state.iteration <= bar.n:
                bar.reset()
            bar.total = state.n_iter
            bar.update(state.iteration - bar.n)

        def advance() -> None:
            files.update()
            bar.reset()

        yield advance, callback


@app.command()
def blind(
    inputs: Inputs,
    out: Out,
    prior: Annotated[
        str,
        typer.Option(
            help="auto, or one estimator: l0, patch_minimum, dark_channel, text, discriminative ..."
        ),
    ] = "auto",
    psf_size: Annotated[
        int | None, typer.Option(min=2, help="About the psf's size in pixels; found when left out.")
    ] = None,
    crop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Find the psf in this part of the picture."),
    ] = None,
    save_psf: Annotated[
        Path | None,
        typer.Option(
            help="Write the psf found (.npy, .tif or .png); with several pictures, to a folder. "
            "Edit it and run: deconv deblur --psf-from FILE"
        ),
    ] = None,
    method: MethodName = "tv",
    linear: Linear = None,
    param: Param = None,
    depth: Depth = None,
    overwrite: Overwrite = False,
    progress: Progress = None,
) -> None:
    """Take the blur out of photographs, given nothing else."""
    parameters = batch.for_estimated(methods.get(method)) | _parameters(param or [])
    from deconv.blind_job import BlindJob

    job = BlindJob(
        method=methods.get(method),
        linear=linear,
        parameters=parameters,
        depth=depth,
        say=_say,
        prior=prior,
        size=psf_size,
        region=None if crop is None else crop_slices(crop),
        save_psf=save_psf,
        overwrite=overwrite,
    )
    job.check()
    several = len(batch.plan(inputs, out, overwrite)) > 1
    if save_psf is not None and several and not save_psf.is_dir():
        raise ValueError(f"--save-psf {save_psf} for several pictures; expected a folder")
    _restore(inputs, out, job, overwrite, progress)


app.command()(sharpness)
app.command()(compare)


@app.command("psf")
def make_psf(
    spec: Spec,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help=".npy (exact), .tif (float) or .png (16 bit)."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="The picture that fit:... is found from.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Make a psf, or find one from a picture; print its facts and write it to a file."""
    if out is not None:
        psf_files.check_file(out, overwrite)
    pixels = None
    if image is not None:
        pixels = batch.working_image(io.read(image))
    psf = batch.psf_from(spec, pixels, print)
    print(_facts(psf))
    if out is not None:
        psf_files.to_file(psf, out)


def _facts(psf: np.ndarray) -> str:
    """Size, centroid off the centre and rms width along each axis of a psf."""
    lines = [f"shape  {' x '.join(map(str, psf.shape))}, sum {psf.sum():.6g}"]
    for axis, name in enumerate("zyx"[-psf.ndim :]):
        line = psf.sum(axis=tuple(i for i in range(psf.ndim) if i != axis)) / psf.sum()
        place = np.arange(len(line)) - len(line) // 2
        mean = float((line * place).sum())
        width = float(np.sqrt((line * (place - mean) ** 2).sum()))
        lines.append(f"{name}      centroid {mean:+.3f} px, rms width {width:.3f} px")
    return "\n".join(lines)


@app.command("methods")
def show_methods() -> None:
    """List the methods and their parameters."""
    for method in methods.all():
        print(f"{method.name}: {method.summary}{_needs(method)}")
        for parameter in method.parameters:
            default = "none" if parameter.default is None else parameter.default
            line = f"{parameter.name}={default}"
            print(f"    {line:<24} {parameter.doc} [{parameter.range}]")


def _needs(method: Method) -> str:
    takes = [*(["--psf"] if method.needs_psf else []), *(["--sigma"] if method.noise else [])]
    return f" ({', '.join(takes)})" if takes else ""


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the figures.")] = Path(
        "demo"
    ),
) -> None:
    """Restore a real photograph and a synthetic one; write figures, print a table."""
    from deconv import demo as show

    show.run(out)
