"""`python -m comanda_testbed`: an AWS account on loopback, until Ctrl-C; or a rehearsal of a whole deployment in it."""

import argparse
import signal
import sys
import threading

try:
    from comanda_testbed.bed import running_testbed
    from comanda_testbed.demo import demo
except ModuleNotFoundError as error:
    raise SystemExit(
        f"comanda_testbed needs the extra `demo` ({error.name} is missing): run make demo-deploy"
    ) from error


def main() -> int:
    """Run, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="python -m comanda_testbed", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve", help="run the account and print its environment")
    serve.add_argument("--port", type=int, default=0, help="on loopback; a free one if not given")
    commands.add_parser("demo", help="plan, apply, drift, mend and destroy, in such an account")
    options = parser.parse_args()
    if options.command == "demo":
        return demo()
    with running_testbed(options.port) as bed:
        for name, value in bed.environment.items():
            print(f"export {name}='{value}'", flush=True)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        try:
            stop.wait()
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
