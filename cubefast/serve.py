"""`python -m cubefast.serve RUN`: a trained run behind HTTP, with a page to look at."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Sequence

from . import cli
from .config import bounds
from .errors import InputError

_DESCRIPTION = """Serve a trained run: embeddings in the form of OpenAI's API, answers, and a page to try it out.

  GET  /               a page: a question's answers before and with the core, side by side
  POST /v1/embeddings  {"model": "NAME:query" or "NAME:document", "input": text or texts}; queries go through the core
  POST /ask            {"question": text}; the answers, their scores, and whether the best reaches the threshold
  GET  /health, /metrics (Prometheus), /v1/models

It is reached from this machine only, unless --host says otherwise. Ctrl-C or SIGTERM stops it, after requests that are
being answered."""

_PACKAGES = ("starlette", "uvicorn", "prometheus_client")


def _run(arguments: argparse.Namespace) -> int:
    if missing := [name for name in _PACKAGES if importlib.util.find_spec(name) is None]:
        raise InputError(f"serve needs the packages {', '.join(missing)}; pip install 'cubefast[serve]'")
    from .data.reading.dialogues import load_side
    from .serving import server
    from .serving.app import create_app
    from .serving.requests import Limits
    from .serving.service import Service

    further = [] if arguments.answers is None else load_side(arguments.answers, "answer")
    with server.listen(arguments.host, arguments.port) as listening:
        service = Service.from_run(
            arguments.run,
            index=arguments.index,
            further_answers=further,
            questions=arguments.questions,
            encoder=arguments.encoder,
        )
        limits = Limits(inputs=arguments.max_inputs, body=arguments.max_body * 2**20, seconds=arguments.timeout)
        local = server.is_loopback(arguments.host)
        app = create_app(service, limits, hosts={*server.LOOPBACK_NAMES, arguments.host.lower()} if local else None)
        if not local:
            print(
                f"note: whoever can reach {arguments.host} can use this server; it asks for no password, and does not "
                "encrypt"
            )
        print(f"serving {service.name} at {server.address(listening)} (Ctrl-C stops)", flush=True)
        server.run(app, listening, limits.seconds)
    print("stopped")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """`cubefast serve` with these arguments (those of the process by default); returns the exit code."""
    made = cli.run_parser("serve", _DESCRIPTION)
    made.add_argument("--host", default="127.0.0.1", help="where to listen (127.0.0.1); 0.0.0.0: all of the machine's")
    made.add_argument("--port", type=bounds.whole(0, 65_535), default=8000, metavar="N", help="(8000); 0: a free one")
    made.add_argument(
        "--questions",
        metavar="FILE",
        help="known questions, such as the file that the run was trained on: the nearest are shown beside the answers",
    )
    made.add_argument(
        "--max-inputs", type=bounds.whole(1, 4_096), default=256, metavar="N", help="texts of one request (256)"
    )
    made.add_argument(
        "--max-body", type=bounds.whole(1, 1_024), default=2, metavar="MIB", help="MiB of a request's body (2)"
    )
    made.add_argument(
        "--timeout", type=bounds.number(1, 3_600), default=30.0, metavar="S", help="seconds for a request (30)"
    )
    return cli.run(made, _run, argv)


if __name__ == "__main__":
    cli.exit_process(main())
