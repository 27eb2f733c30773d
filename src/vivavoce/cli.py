"""The command: talk, serve, index, init, devices, voices, models, doctor."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


_engine_options = _options(
    click.option("--profile", type=click.Choice(["quality", "fast"]), help="The better or the faster embedded model."),
    click.option("--stt", metavar="NAME", help="Speech-to-text engine [moonshine] or module:Name."),
    click.option("--stt-url", metavar="URL", help="An OpenAI-compatible endpoint for speech to text."),
    click.option("--stt-model", metavar="NAME", help="Its model."),
    click.option("--llm", metavar="NAME", help="Language-model engine [llama] or module:Name."),
    click.option("--llm-url", metavar="URL", help="An OpenAI-compatible endpoint for the language model."),
    click.option("--llm-model", metavar="NAME", help="Its model."),
    click.option("--tts", metavar="NAME", help="Text-to-speech engine [hibari] or module:Name."),
    click.option("--tts-url", metavar="URL", help="An OpenAI-compatible endpoint for text to speech."),
    click.option("--tts-model", metavar="NAME", help="Its model."),
    click.option("--voice", metavar="NAME", help="The voice of the answer; see `vivavoce voices`."),
    click.option("--instructions", metavar="TEXT", help="What the assistant is told to be."),
    click.option("--greeting", metavar="TEXT", help='How it is told to open the conversation; "" for not at all.'),
    click.option("--language", metavar="TAG", help="The language that is spoken, such as en."),
    click.option("--silence-ms", type=int, metavar="MS", help="Silence that ends your turn [400]."),
)


def _list_devices(context: click.Context, _: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - click's callback
    if wanted:
        from vivavoce import household

        _try(household.devices)
        context.exit()


_list_devices_option = click.option(
    "--list-devices",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_devices,
    help="List microphones and speakers, and exit.",
)


@click.group(context_settings=CONTEXT, invoke_without_command=True)
@click.version_option(package_name="vivavoce")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens inside, to standard error.")
@click.pass_context
def cli(context: click.Context, verbose: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Talk to a computer: you speak, it answers aloud, you interrupt and it stops."""
    _log(verbose=verbose)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cli.command()
@click.option("--service", type=click.Choice(["local", "yandex", "openai", "azure"]), help="Whom to talk to [local].")
@click.option("--url", metavar="WS", help="A Realtime server, ws:// or wss://.")
@click.option("--model", metavar="NAME", help="The service's model.")
@click.option("--text", is_flag=True, help="Type instead of speaking.")
@click.option("--input", "input_file", metavar="FILE", help="Speak this recording instead of the microphone.")
@click.option("--output", "output_file", metavar="FILE", help="Write the answers to this WAV file.")
@click.option("--fast", is_flag=True, help="With --input: as fast as it can, not in real time.")
@click.option("--input-device", metavar="DEVICE", help="Microphone: index or part of its name.")
@click.option("--output-device", metavar="DEVICE", help="Speaker: index or part of its name.")
@click.option("--no-aec", "aec", flag_value=False, default=None, help="Leave the speaker's echo in what is heard.")
@_list_devices_option
@click.option("--record", metavar="FOLDER", help="Record sound, transcript and log in a new folder there.")
@click.option("--tool", "tools", multiple=True, metavar="MODULE:FUNCTION", help="A function that the model may call.")
@click.option(
    "--mcp", multiple=True, metavar="SERVER", help="A server of tools (MCP): a command or an https:// address."
)
@click.option("--files", metavar="FOLDER", help="Files that the assistant may search.")
@click.option("--store", metavar="NAME", help="What it may search of what `vivavoce index add` has indexed.")
@click.option(
    "--web-search",
    type=click.Choice(["searxng", "brave", "tavily", "yandex", "duckduckgo"]),
    help="Who searches the web.",
)
@click.option("--print-json", is_flag=True, help="One JSON object a line, for programs.")
@_engine_options
def talk(
    *,
    text: bool,
    input_file: str | None,
    output_file: str | None,
    fast: bool,
    tools: tuple[str, ...],
    mcp: tuple[str, ...],
    print_json: bool,
    **flags: Any,
) -> None:
    """Talk to the assistant through microphone and speaker."""
    from vivavoce.run import TalkOptions
    from vivavoce.run import talk as run_talk

    options = TalkOptions(
        text=text, input_file=input_file, output_file=output_file, fast=fast, tools=tools, print_json=print_json
    )
    _run(run_talk, flags | {"mcp": mcp or None}, options)


@cli.command()
@click.argument("log", type=click.Path())
@click.option("--speed", type=click.FloatRange(min=0, min_open=True), default=1.0, help="How much faster [1].")
@click.option("--no-wait", is_flag=True, help="Show everything at once.")
@click.option("--sound", is_flag=True, help="Play the recorded sound beside it.")
@click.option("--print-json", is_flag=True, help="One JSON object a line, for programs.")
def replay(*, log: str, speed: float, no_wait: bool, sound: bool, print_json: bool) -> None:
    """Show a conversation again that was recorded with `talk --record`: LOG is its folder or session.jsonl."""
    import functools
    from pathlib import Path

    import anyio

    from vivavoce.agent.replay import replay as show

    if sound and (no_wait or speed != 1.0):
        raise click.UsageError("Sound is played at its own speed: leave out --sound, or --speed and --no-wait.")
    pace = float("inf") if no_wait else speed
    _try(lambda: anyio.run(functools.partial(show, Path(log), speed=pace, sound=sound, print_json=print_json)))


@cli.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen [127.0.0.1].")
@click.option("--port", type=int, help="Where to listen [8080].")
@click.option("--certfile", metavar="FILE", help="TLS certificate, PEM.")
@click.option("--keyfile", metavar="FILE", help="TLS key, PEM.")
@click.option("--api-keys", "api_keys_file", metavar="FILE", help="Who may call: one key a line, or NAME:KEY.")
@click.option("--allow-remote", is_flag=True, help="Listen beyond this machine although there are no API keys.")
@click.option("--allow-origin", "origins", multiple=True, metavar="ORIGIN", help="A web page that may call, https://…")
@click.option("--library", metavar="FOLDER", help="Where files and vector stores are kept [the user's own].")
@click.option("--max-upload-mb", type=int, metavar="N", help="Of a file, MiB [128].")
@click.option("--max-sessions", type=int, metavar="N", help="Sessions at once [100].")
@click.option("--max-sessions-per-key", type=int, metavar="N", help="Of one API key [all].")
@click.option("--max-sessions-per-address", type=int, metavar="N", help="Of one address [all].")
@_engine_options
def serve(*, allow_remote: bool, origins: tuple[str, ...], **flags: Any) -> None:
    """Serve the Realtime API to others, over WebSocket at /v1/realtime, and over HTTP beside it."""
    from vivavoce.run import LOOP
    from vivavoce.run import serve as run_serve

    _run(run_serve, flags | {"allowed_origins": origins or None}, loop=LOOP, allow_remote=allow_remote)


@cli.command()
@click.argument("folder", default=".")
def init(*, folder: str) -> None:
    """Write a small project: an agent with a tool, and a test of it; nothing is overwritten."""
    import shlex
    import shutil
    from importlib.util import find_spec
    from pathlib import Path

    from vivavoce import scaffold

    for path in _try(lambda: scaffold.write(Path(folder))):
        click.echo(path)
    python = "python" if shutil.which("python") == sys.executable else shlex.quote(sys.executable)
    lacking = "" if find_spec("pytest") else "   # once pytest is installed there"
    agent = shlex.quote(str(Path(folder) / "agent.py"))
    click.echo(f"\nNext:\n  {python} {agent} --text\n  {python} -m pytest {shlex.quote(folder)}{lacking}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def devices(*, as_json: bool) -> None:
    """List microphones and speakers."""
    from vivavoce import household

    _try(household.devices, as_json=as_json)


@cli.command()
@_engine_options
def voices(**flags: Any) -> None:
    """List the voices that the answer may have."""
    from vivavoce import household

    _try(lambda: household.voices(_settings(flags)))


@cli.group(context_settings=CONTEXT)
def models() -> None:
    """List, fetch, check and remove the embedded models."""


@models.command("list")
def models_list() -> None:
    """List the models: what each is for, its size and licence, whether it is here."""
    from vivavoce import household

    _try(household.models)


@models.command("pull")
@click.argument("names", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Every model in the catalogue.")
def models_pull(*, names: tuple[str, ...], everything: bool) -> None:
    """Fetch models, by default those that `talk` needs; afterwards no network is needed."""
    from vivavoce import household

    _try(lambda: household.pull(names, _settings({}), everything=everything))


@models.command("verify")
@click.argument("names", nargs=-1)
def models_verify(*, names: tuple[str, ...]) -> None:
    """Hash the models that are here and compare."""
    from vivavoce import household

    _try(lambda: household.verify(names))


@models.command("remove")
@click.argument("names", nargs=-1, required=True)
def models_remove(*, names: tuple[str, ...]) -> None:
    """Remove models from the cache."""
    from vivavoce import household

    _try(lambda: household.remove(names))


_store_option = click.option("--store", default="default", metavar="NAME", help="Vector store [default].")


@cli.group(context_settings=CONTEXT, invoke_without_command=True)
@click.option("--library", metavar="PLACE", help="Where indexed files are kept: a folder, or postgresql://…")
@click.pass_context
def index(context: click.Context, library: str | None) -> None:
    """Search your files: PDF, Word, PowerPoint, Excel, EPUB, HTML, Markdown, text, code."""
    context.obj = {"library": library}
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@index.command("add")
@click.argument("paths", nargs=-1, required=True)
@_store_option
@click.pass_obj
def index_add(flags: dict[str, Any], *, paths: tuple[str, ...], store: str) -> None:
    """Index files and folders, as far as they changed."""
    from vivavoce import knowledge

    _run(knowledge.add, flags, paths, store=store)


@index.command("list")
@click.option("--store", metavar="NAME", help="Only this vector store.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def index_list(flags: dict[str, Any], *, store: str | None, as_json: bool) -> None:
    """List the vector stores and their files."""
    from vivavoce import knowledge

    _run(knowledge.list_stores, flags, store=store, as_json=as_json)


@index.command("search")
@click.argument("question")
@_store_option
@click.option("-n", "--limit", type=click.IntRange(1, 50), default=5, help="Passages at most [5].")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.pass_obj
def index_search(flags: dict[str, Any], *, question: str, store: str, limit: int, as_json: bool) -> None:
    """Show the passages that fit a question, with score and place."""
    from vivavoce import knowledge

    _run(knowledge.search, flags, question, store=store, limit=limit, as_json=as_json)


@index.command("show")
@click.argument("file")
@_store_option
@click.pass_obj
def index_show(flags: dict[str, Any], *, file: str, store: str) -> None:
    """Show what was read of a file: a path, name or id."""
    from vivavoce import knowledge

    _run(knowledge.show, flags, file, store=store)


@index.command("remove")
@click.argument("files", nargs=-1)
@_store_option
@click.option("--all", "whole", is_flag=True, help="The whole vector store.")
@click.pass_obj
def index_remove(flags: dict[str, Any], *, files: tuple[str, ...], store: str, whole: bool) -> None:
    """Forget files: paths, folders, names or ids."""
    from vivavoce import knowledge

    if bool(files) == whole:
        raise click.UsageError("Name files, or give --all.")
    _run(knowledge.remove, flags, files, store=store, whole=whole)


@index.command("watch")
@click.argument("paths", nargs=-1, required=True)
@_store_option
@click.pass_obj
def index_watch(flags: dict[str, Any], *, paths: tuple[str, ...], store: str) -> None:
    """Index again whenever files change."""
    from vivavoce import knowledge

    _run(knowledge.watch, flags, paths, store=store)


@cli.command()
def doctor() -> None:
    """Tell what is wrong, and the command that mends it."""
    from vivavoce import household

    if not _try(lambda: household.doctor(_settings({}))):
        sys.exit(1)


def main() -> None:
    """Run the command, and leave at once.

    A thread inside a native engine cannot be interrupted: the interpreter would wait for it, or abort with it.
    """
    import os

    code = _exit_code()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _exit_code() -> int:
    try:
        return int(cli.main(prog_name="vivavoce", standalone_mode=False) or 0)
    except SystemExit as ended:
        return int(ended.code or 0)
    except (click.Abort, KeyboardInterrupt):
        return 0
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code


def _settings(flags: dict[str, Any]) -> Any:
    from vivavoce.config import load

    return load(flags)


def _run(
    work: Callable[..., Any], flags: dict[str, Any], *arguments: Any, loop: dict[str, Any] | None = None, **options: Any
) -> None:
    """Run a coroutine function with the settings until it ends or Ctrl+C; `loop` chooses the event loop."""
    import functools

    import anyio

    def start() -> Any:
        return anyio.run(functools.partial(work, _settings(flags), *arguments, **options), backend_options=loop)

    sys.exit(_try(start) or 0)


def _try(work: Callable[..., Any], **options: Any) -> Any:
    """Run and turn what a person can mend into one sentence."""
    from vivavoce.errors import VivavoceError

    try:
        return work(**options)
    except KeyboardInterrupt:
        sys.exit(0)
    except BrokenPipeError:
        sys.exit(0)
    except VivavoceError as wrong:
        click.secho(f"vivavoce: {wrong}", fg="red", err=True)
        sys.exit(1)


def _log(*, verbose: bool) -> None:
    import logging

    level = logging.DEBUG if verbose else logging.ERROR
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(levelname)s %(message)s", stream=sys.stderr)
