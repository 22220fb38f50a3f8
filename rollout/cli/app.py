"""The verbs. Each command is thin: it reads arguments, calls the engine, and says what came of it.

Heavy modules are imported by the command that needs them, so that `rollout --help` stays quick.
"""

import os
import signal
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rollout import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from rollout.cli.declaring import Order
    from rollout.cli.driving import Manners, Tell
    from rollout.core.attempt import Attempt, Scale
    from rollout.core.strategy import Strategy
    from rollout.engine.engine import Engine
    from rollout.engine.survey import Request
    from rollout.ports import Cluster, Metrics

    Carry = Callable[[Manners, Tell], tuple[Attempt | None, int]]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Move a service to its new version step by step over Istio, and take it back on evidence of harm.",
)
playground_app = typer.Typer(no_args_is_help=True, help="A small mesh on this machine: real Envoy, no cluster.")
app.add_typer(playground_app, name="playground")
strategies_app = typer.Typer(help="The presets, one of them, or the schema of a strategy.")
app.add_typer(strategies_app, name="strategies")

Service = Annotated[str, typer.Argument(metavar="SERVICE", help="The Service, as the VirtualService names it.")]
Namespace = Annotated[str, typer.Option("--namespace", "-n", metavar="NAME", help="Its namespace; else the context's.")]
Context = Annotated[str, typer.Option(metavar="NAME", help="The kubeconfig's context; else the current one.")]
Prometheus = Annotated[str, typer.Option(metavar="URL", envvar="ROLLOUT_PROMETHEUS", help="The URL of Prometheus.")]
Folder = Annotated[
    str,
    typer.Option("--cluster", metavar="FOLDER", envvar="ROLLOUT_CLUSTER", help="A playground instead of a cluster."),
]
Home = Annotated[
    str,
    typer.Option(
        "--lease-namespace",
        metavar="NS",
        envvar="ROLLOUT_LEASE_NAMESPACE",
        help="Where the controller has its Lease, if there is one.",
    ),
]
HOME, SAMPLE = "rollout-system", 5
Output = Annotated[str, typer.Option("--output", "-o", metavar="text|json", help="How to say it.")]
To = Annotated[str, typer.Option("--to", metavar="VERSION", help="The version that should serve.")]
From = Annotated[
    str, typer.Option("--from", metavar="VERSION", help="The version that serves, where it cannot be told.")
]
StrategyName = Annotated[str, typer.Option("--strategy", metavar="NAME|FILE", help="A preset, or a file of yours.")]
Fitting = Annotated[
    str,
    typer.Option(
        "--strategy", metavar="NAME|FILE", help="A preset, or a file of yours; else `canary`, fitted to the traffic."
    ),
]
Scaling = Annotated[
    str,
    typer.Option(
        "--scale", metavar="wait|auto", help="Who scales the new version: somebody else (so by default), or we do."
    ),
]
Named = Annotated[
    list[str],
    typer.Option(
        "--route", metavar="NAME", help="A route that is to move though it has a match; may be said again and again."
    ),
]
NoCreate = Annotated[bool, typer.Option("--no-create", help="Refuse instead of adding missing subsets.")]
Local = Annotated[
    bool, typer.Option("--local", help="Drive from here what a ServiceRollout asks for, where no controller lives.")
]


def main() -> None:
    """Run the command line; the errors that we raise on purpose become sentences and exit codes."""
    from rollout.core.errors import InvalidInput, RolloutError

    try:
        app()
    except InvalidInput as error:
        _die(str(error), 2)
    except RolloutError as error:
        _die(str(error), 3)
    except BrokenPipeError:
        os._exit(141)  # as SIGPIPE would have it; what we wrote has no reader
    except Exception as error:
        if os.environ.get("ROLLOUT_DEBUG"):
            raise
        _die(f"a bug of ours: {type(error).__name__}: {error} (ROLLOUT_DEBUG=1 shows where)", 70)


def _die(text: str, code: int) -> None:
    print(f"rollout: {text}", file=sys.stderr)
    sys.exit(code)


def _check_output(output: str, *others: str) -> None:
    from rollout.core.errors import InvalidInput

    if output not in ("text", "json", *others):
        raise InvalidInput(f"--output is {' or '.join(('text', 'json', *others))}, not {output!r}")


def _judging(name: str) -> "Strategy":
    from rollout.adapters.strategy_files import load
    from rollout.core.errors import InvalidInput

    strategy = load(name)
    if not strategy.checks:
        raise InvalidInput(f"the strategy {strategy.name} compares no versions, so there is nothing to judge")
    return strategy


def _world(folder: str, context: str, prometheus: str, metrics: bool = True) -> "tuple[Cluster, Metrics]":
    from rollout import wiring

    if folder:
        return wiring.folder_world(Path(folder))
    return wiring.kube_world(context or None, prometheus or None, need_metrics=metrics)


def _namespace(cluster: "Cluster", folder: str, namespace: str) -> str:
    return namespace or ("bookinfo" if folder else str(getattr(cluster, "default_namespace", "default")))


def _engine(service: str, namespace: str, folder: str, context: str, home: str = HOME) -> "Engine":
    return _reached(service, namespace, folder, context, home).engine


@dataclass(frozen=True)
class Reached:
    """A service's engine, its cluster, and its metrics, None where none are named."""

    engine: "Engine"
    cluster: "Cluster"
    metrics: "Metrics | None"

    def measuring(self, strategy: "Strategy") -> "Engine":
        """The engine for a strategy. Raises `InvalidInput` if it must have metrics, and none are named."""
        from rollout import wiring

        if strategy.measures and self.metrics is None:
            wiring.prometheus_at(None)
        return self.engine


def _reached(
    service: str, namespace: str, folder: str, context: str, home: str = HOME, prometheus: str = ""
) -> Reached:
    from rollout import wiring

    cluster, counters = _world(folder, context, prometheus, metrics=False)
    engine = wiring.engine(cluster, counters, service, _namespace(cluster, folder, namespace), home)
    return Reached(engine, cluster, counters if folder or prometheus else None)


Timeout = Annotated[str, typer.Option(metavar="DURATION", help="Leave after so long, such as 30m.")]
OnTimeout = Annotated[str, typer.Option(metavar="rollback|hold", help="What happens then.")]
OnInterrupt = Annotated[
    str, typer.Option(metavar="rollback|hold", help="On a signal; else: hold on Ctrl-C at a terminal, or take back.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Leave with exit code 5 where a person must act.")]
Driven = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="text|json|github",
        help="How to say it; github: with annotations, and the report in $GITHUB_STEP_SUMMARY.",
    ),
]


@app.command()
def promote(
    service: Service,
    to: To,
    stable: From = "",
    strategy: Fitting = "",
    namespace: Namespace = "",
    context: Context = "",
    prometheus: Prometheus = "",
    cluster: Folder = "",
    home: Home = HOME,
    local: Local = False,
    timeout: Timeout = "",
    on_timeout: OnTimeout = "rollback",
    on_interrupt: OnInterrupt = "",
    no_create: NoCreate = False,
    scale: Scaling = "",
    route: Named = [],  # noqa: B006 - typer takes no tuple, and nothing here changes it
    yes: Yes = False,
    no_wait: NoWait = False,
    output: Driven = "text",
) -> None:
    """Carry a service to another version, step by step, and take it back on evidence of harm."""
    from rollout.adapters.strategy_files import load
    from rollout.cli import declaring, driving
    from rollout.engine import choosing
    from rollout.engine.survey import Request

    named, names = load(strategy or choosing.PRESET), _names(route)

    def asked() -> "tuple[Metrics | None, Carry]":
        found = _reached(service, namespace, cluster, context, home, prometheus)
        found.engine.states.read()
        if found.engine.states.declared is not None:
            said = _scale(scale) if scale else None
            wish = declaring.Wish(to, named if strategy else None, stable, not no_create, scale=said, names=names)
            order = declaring.Order(found.engine, found.cluster, home, wish)
            return found.metrics, _ordered(found, order, local, yes)
        engine = found.measuring(named)
        request = Request(service, engine.namespace, to, named, stable, not no_create, scale=_scale(scale), names=names)

        def choose(named: Request) -> Request:
            return _confirmed(named if strategy else choosing.chosen(named, engine.load), yes)

        return found.metrics, lambda manners, tell: driving.promote(engine, request, manners, tell, choose)

    _drive(asked, output, timeout, on_timeout, on_interrupt, no_wait)


@app.command()
def retry(
    service: Service,
    namespace: Namespace = "",
    context: Context = "",
    prometheus: Prometheus = "",
    cluster: Folder = "",
    home: Home = HOME,
    local: Local = False,
    timeout: Timeout = "",
    on_timeout: OnTimeout = "rollback",
    on_interrupt: OnInterrupt = "",
    no_create: NoCreate = False,
    yes: Yes = False,
    no_wait: NoWait = False,
    output: Driven = "text",
) -> None:
    """Begin what was rolled back once more: the same versions, by the same strategy."""
    from rollout.cli import declaring, driving, retrying

    def asked() -> "tuple[Metrics | None, Carry]":
        found = _reached(service, namespace, cluster, context, home, prometheus)
        found.engine.known()
        record, document = found.engine.states.record, found.engine.states.declared
        if document is not None:
            if record.attempt is not None:
                retrying.request(record, service, found.engine.namespace)
            wish = declaring.Wish(declaring.asks(document, record.attempt), create=not no_create)
            order = declaring.Order(found.engine, found.cluster, home, wish, declaring.retried)
            return found.metrics, _ordered(found, order, local, yes)
        request = retrying.request(record, service, found.engine.namespace, not no_create)
        engine = found.measuring(request.strategy)
        return found.metrics, lambda manners, tell: driving.promote(
            engine, request, manners, tell, lambda same: _confirmed(same, yes)
        )

    _drive(asked, output, timeout, on_timeout, on_interrupt, no_wait)


def _ordered(found: Reached, order: "Order", local: bool, yes: bool) -> "Carry":
    """Have the controller do what is ordered, or do it as the object says."""
    from rollout.cli import obeying
    from rollout.engine import choosing

    if not local:
        return lambda manners, tell: obeying.obey(order, manners, tell, lambda request: _confirmed(request, yes))
    request, fitted = order.request()
    engine = found.measuring(request.strategy)

    def choose(request: "Request") -> "Request":
        return _confirmed(choosing.chosen(request, engine.load) if fitted else request, yes)

    return lambda manners, tell: obeying.by_hand(order, request, manners, tell, choose)


def _drive(
    asked: "Callable[[], tuple[Metrics | None, Carry]]",
    output: str,
    timeout: str,
    on_timeout: str,
    on_interrupt: str,
    no_wait: bool,
) -> None:
    """Carry what is asked for to its end, say it, and leave with its exit code."""
    from rollout.cli import actions, console

    _check_output(output, "github")
    with actions.teller() if output == "github" else console.teller(output) as tell:
        manners = _manners(timeout, on_timeout, on_interrupt, no_wait)
        metrics, carry = asked()
        attempt, code = carry(manners, tell)
        tell(attempt)
    if isinstance(tell, actions.Log):
        actions.close(tell, attempt, code, metrics)
    if output == "json":
        console.print_json(console.document(attempt) | {"exit": code})
    raise typer.Exit(code)


def _manners(timeout: str, on_timeout: str, on_interrupt: str, no_wait: bool) -> "Manners":
    from rollout.cli.driving import Manners
    from rollout.core.errors import InvalidInput
    from rollout.core.quantities import duration

    for name, value in (("--on-timeout", on_timeout), ("--on-interrupt", on_interrupt or "hold")):
        if value not in ("rollback", "hold"):
            raise InvalidInput(f"{name} is rollback or hold, not {value!r}")
    at_terminal = sys.stdin.isatty() and not os.environ.get("CI")
    hold = on_interrupt == "hold" if on_interrupt else None
    seconds = duration(timeout) if timeout else 0.0
    if timeout and not seconds:
        raise InvalidInput("--timeout must be longer than 0s")
    return Manners(seconds, on_timeout == "hold", hold, at_terminal, not no_wait)


def _names(routes: list[str]) -> tuple[str, ...]:
    """Each name once. Raises `InvalidInput` for an empty one: no route is found by it."""
    from rollout.core.errors import InvalidInput

    if "" in routes:
        raise InvalidInput("--route is the name of a route, not empty")
    return tuple(dict.fromkeys(routes))


def _scale(name: str) -> "Scale":
    from rollout.core.attempt import Scale
    from rollout.core.errors import InvalidInput

    try:
        return Scale(name or Scale.WAIT)
    except ValueError:
        raise InvalidInput(f"--scale is wait or auto, not {name!r}") from None


def _confirmed(request: "Request", yes: bool) -> "Request":
    """Ask a person at a terminal once; a pipeline is not asked."""
    if yes or not sys.stdin.isatty():
        return request
    if request.why:
        print(request.why, file=sys.stderr)
    steps = " → ".join(request.strategy.told)
    question = f"Move {request.service} in {request.namespace} to {request.canary}: {steps}?"
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        print("nothing was written", file=sys.stderr)
        raise typer.Exit(130)
    return request


@app.command()
def status(
    service: Service,
    namespace: Namespace = "",
    context: Context = "",
    cluster: Folder = "",
    home: Home = HOME,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow until it ends.")] = False,
    output: Output = "text",
) -> None:
    """Show where a rollout stands."""
    from rollout.adapters import clock
    from rollout.cli import console

    _check_output(output)
    engine = _engine(service, namespace, cluster, context, home)
    if not watch:
        attempt, notice = _standing(engine, home)
        if output == "json":
            console.print_json(console.document(attempt) | {"unattended": bool(attempt and notice)})
        elif sys.stdout.isatty():
            console.print_view(attempt, notice or _stalled(engine))
        else:
            print(console.summary(attempt, notice or _stalled(engine)))
    else:
        with console.teller(output) as tell:
            while True:
                attempt, notice = _standing(engine, home)
                tell(attempt, notice or _stalled(engine))
                if attempt is None or attempt.phase.ended:
                    break
                clock.wait(1.0)
        if output == "json":
            console.print_json(console.document(attempt))
    if output == "text" and (retires := _retires(engine)):
        print(retires)


def _standing(engine: "Engine", home: str) -> "tuple[Attempt | None, str]":
    """The attempt by its record, and what else there is to say of it."""
    from rollout.adapters import clock
    from rollout.cli import console

    engine.known()
    attempt = engine.states.record.attempt
    if attempt is None:
        return None, _stalled(engine) or f"nothing of {engine.service} was ever promoted from here"
    since = None if attempt.phase.ended else engine.lease.unattended(clock.now())
    if since is None:
        return attempt, ""
    lies = f", and the fault at {attempt.fault.on} may still lie there" if attempt.fault else ""
    told = f"unattended since {console.at(since)}"
    if not since and engine.states.declared is not None:
        told = f"no controller ever led in {home} (--lease-namespace, if it is elsewhere)"
    return attempt, f"{told}: nobody drives, so nothing is judged{lies}"


def _stalled(engine: "Engine") -> str:
    """Why its ServiceRollout cannot be obeyed, where that is so and the last attempt does not say it itself."""
    from rollout.core.documents import SERVICE_ROLLOUT, ref
    from rollout.engine.status import trouble_of

    document, attempt = engine.states.declared, engine.states.record.attempt
    trouble = trouble_of(document) if document else None
    if document is None or trouble is None or (attempt and attempt.reason == trouble.reason):
        return ""
    return f"{ref(SERVICE_ROLLOUT, document)} is stalled: {trouble.reason}: {trouble.message}"


def _retires(engine: "Engine") -> str:
    """Which version that was replaced is to go next, and when, where its ServiceRollout says so."""
    import math

    from rollout.cli import console
    from rollout.engine.objects import retires_after

    document, record = engine.states.declared, engine.states.record
    when = record.retires_at(retires_after(document)) if document else math.inf
    if when == math.inf:
        return ""
    return f"{next(iter(record.replaced()))} is to be retired from {console.at(when, date=True)} on, if nobody asks it"


@app.command()
def plan(
    service: Service,
    to: To,
    stable: From = "",
    strategy: Fitting = "",
    namespace: Namespace = "",
    context: Context = "",
    prometheus: Prometheus = "",
    cluster: Folder = "",
    no_create: NoCreate = False,
    scale: Scaling = "",
    route: Named = [],  # noqa: B006
    output: Output = "text",
) -> None:
    """Show what to expect of each step, what it asks for, and its exact change of each object; writes nothing."""
    from rollout.adapters import clock
    from rollout.adapters.strategy_files import load
    from rollout.cli import console
    from rollout.cli.naming import in_force
    from rollout.cli.planning import planned, told
    from rollout.engine import choosing
    from rollout.engine.survey import Request, survey

    _check_output(output)
    named = load(strategy or choosing.PRESET)
    world, metrics = _world(cluster, context, prometheus, metrics=False)
    where = _namespace(world, cluster, namespace)
    names, unknown = in_force(world, service, where, _names(route))
    request = Request(service, where, to, named, stable, not no_create, scale=_scale(scale), names=names)
    counters = metrics if cluster or prometheus else None
    found = planned(world, survey(world, request, 0, clock.now()), counters, not strategy, unknown)
    if output == "json":
        console.print_json(asdict(found))
    else:
        console.print_diff(told(found))


@app.command()
def abort(
    service: Service, namespace: Namespace = "", context: Context = "", cluster: Folder = "", home: Home = HOME,
    output: Output = "text",
) -> None:  # fmt: skip
    """Take all traffic back to the version that served, now."""
    from rollout.adapters import clock
    from rollout.cli import console, driving
    from rollout.core.errors import Forbidden, Unavailable
    from rollout.core.lifecycle import Reason

    _check_output(output)
    engine = _engine(service, namespace, cluster, context, home)
    with suppress(Unavailable, Forbidden):  # an abort should not fail for its first question
        engine.known()
    with console.teller(output) as tell:
        attempt = driving.take_back(engine, Reason.ABORTED, "asked by `rollout abort`", tell)
        if attempt is not None and not attempt.phase.ended:
            attempt = driving.finish(engine, tell, driving.REST_WITHIN)
            engine.let_go(clock.now())
        else:
            tell(None, f"nothing of {service} is in flight; whatever a claim still held was taken back")
    if output == "json":
        console.print_json(console.document(attempt))
    raise typer.Exit(0 if attempt is None or attempt.phase.ended else 3)


Who = Annotated[str, typer.Option("--as", help="Whose word it is; by default the user's, or the pipeline's.")]
Why = Annotated[str, typer.Option("--because", help="Why, for the journal.")]


@app.command()
def pause(
    service: Service, namespace: Namespace = "", context: Context = "", cluster: Folder = "", home: Home = HOME,
    who: Who = "", why: Why = "", output: Output = "text",
) -> None:  # fmt: skip
    """Let a rollout stand still where it is; it is judged on, and goes back if it must."""
    from rollout.cli import speaking

    _spoken(service, (namespace, context, cluster, home), output, lambda engine: speaking.pause(engine, who, why))


@app.command()
def resume(
    service: Service, namespace: Namespace = "", context: Context = "", cluster: Folder = "", home: Home = HOME,
    output: Output = "text",
) -> None:  # fmt: skip
    """Let a paused rollout go on."""
    from rollout.cli import speaking

    _spoken(service, (namespace, context, cluster, home), output, speaking.resume)


@app.command()
def approve(
    service: Service, namespace: Namespace = "", context: Context = "", cluster: Folder = "", home: Home = HOME,
    no: Annotated[bool, typer.Option("--no", help="Say no instead of yes.")] = False, who: Who = "", why: Why = "",
    output: Output = "text",
) -> None:  # fmt: skip
    """Answer the gate at which a rollout waits."""
    from rollout.cli import speaking

    _spoken(
        service, (namespace, context, cluster, home), output, lambda engine: speaking.answer(engine, not no, who, why)
    )


def _spoken(service: str, where: tuple[str, str, str, str], output: str, say: "Callable[[Engine], Attempt]") -> None:
    from rollout.cli import console, speaking

    _check_output(output)
    namespace, context, cluster, home = where
    engine = _engine(service, namespace, cluster, context, home)
    engine.known()
    attempt = say(engine)
    if output == "json":
        console.print_json(console.document(attempt))
    else:
        print(speaking.heard(engine, attempt))


@app.command()
def explain(
    service: Service, namespace: Namespace = "", context: Context = "", cluster: Folder = "", home: Home = HOME,
    proxied: Annotated[
        bool, typer.Option("--proxies", help="Ask the clients' proxies, too, and end as `rollout proxy` does.")
    ] = False,
    output: Output = "text",
) -> None:  # fmt: skip
    """Say why a rollout stands where it stands, what it waits for, and until when."""
    from rollout.adapters import clock
    from rollout.cli import console
    from rollout.cli.explaining import explained
    from rollout.core.errors import RolloutError

    _check_output(output)
    engine = _engine(service, namespace, cluster, context, home)
    attempt, notice = _standing(engine, home)
    lines = [notice] if attempt is None else [*explained(attempt, clock.now(), notice, proxied)]
    if attempt and (stalled := _stalled(engine)):
        lines.append(f"{stalled}.")
    told, code = console.document(attempt) | {"explained": lines}, 0
    if output == "text":
        print(*lines, sep="\n", flush=True)
    try:
        if proxied:
            told["proxies"], code = _obeyed(service, namespace, cluster, context, output)
    except RolloutError as error:  # it hides nothing of the rest
        told["proxies"] = {"trouble": str(error)}
        raise
    finally:
        if output == "json":
            console.print_json(told)
    raise typer.Exit(code)


@app.command()
def report(
    service: Service, namespace: Namespace = "", context: Context = "", prometheus: Prometheus = "",
    cluster: Folder = "",
    form: Annotated[str, typer.Option("--format", metavar="html|markdown", help="How to write it down.")] = "html",
    file: Annotated[str, typer.Option(metavar="FILE", help="Where to; else to stdout.")] = "", output: Output = "text",
) -> None:  # fmt: skip
    """Write down what a rollout came to: one HTML file that needs nothing else, or Markdown for a pull request."""
    from rollout.adapters import clock
    from rollout.cli import console, report_html, report_markdown
    from rollout.cli.reporting import report_document, reported
    from rollout.core.errors import InvalidInput

    _check_output(output)
    writers = {"html": report_html.page, "markdown": report_markdown.page}
    if form not in writers:
        raise InvalidInput(f"--format is html or markdown, not {form!r}")
    found = _reached(service, namespace, cluster, context, prometheus=prometheus)
    found.engine.known()
    attempt = found.engine.states.record.attempt
    if attempt is None:
        raise InvalidInput(f"nothing of {service} was ever promoted from here, so there is nothing to report")
    made = reported(attempt, found.metrics, clock.now())
    text = console.as_json(report_document(made)) if output == "json" else writers[form](made)
    if not file:
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"cannot write {file}: {error.strerror}") from error


@app.command()
def history(
    service: Service, namespace: Namespace = "", context: Context = "", cluster: Folder = "", output: Output = "text"
) -> None:
    """List the attempts that ended."""
    from rollout.cli import console

    _check_output(output)
    engine = _engine(service, namespace, cluster, context)
    engine.known()
    past = engine.states.record.past()
    if output == "json":
        console.print_json([vars(p) for p in past])
    else:
        console.print_history(past)


@app.command()
def undo(
    service: Service,
    namespace: Namespace = "",
    context: Context = "",
    cluster: Folder = "",
    home: Home = HOME,
    local: Local = False,
    override: Annotated[
        bool, typer.Option("--override", help="Although Git asks for the version, until it asks for another.")
    ] = False,
    output: Output = "text",
) -> None:
    """Go back to the version before the last promotion: at once, or as a ServiceRollout says."""
    from rollout.adapters.spelling.service_rollout import declared
    from rollout.cli import console, declaring, driving, obeying, undoing
    from rollout.core.errors import InvalidInput

    _check_output(output)
    found = _reached(service, namespace, cluster, context, home)
    engine = found.engine
    request = undoing.request(engine.states.read(), service, engine.namespace)
    order = None
    if engine.states.declared is not None:
        undoing.once(engine.states.declared, service)
        order = declaring.Order(engine, found.cluster, home, declaring.Wish(request.canary, override=override))
        obeying.demand(order, local)
        request = undoing.as_declared(found.cluster, request, declared(order.document).names)
    elif override:
        raise InvalidInput(f"no ServiceRollout asks for {service}, so there is nothing to override")
    else:
        request = undoing.as_it_is(found.cluster, request)
    if request.why:
        print(request.why, file=sys.stderr, flush=True)
    undoing.make_ready(found.cluster, request, lambda text: print(text, file=sys.stderr, flush=True))
    manners = driving.Manners(hold_on_interrupt=True)  # a signal must not bring back what is undone
    with console.teller(output) as tell:
        if order is None:
            attempt, code = driving.promote(engine, request, manners, tell)
        elif local:
            attempt, code = obeying.by_hand(order, request, manners, tell)
        else:
            attempt, code = obeying.obey(order, manners, tell)
        tell(attempt)
    if output == "json":
        console.print_json(console.document(attempt) | {"exit": code})
    raise typer.Exit(code)


@app.command()
def check(
    service: Service,
    strategy: StrategyName = "",
    namespace: Namespace = "",
    context: Context = "",
    prometheus: Prometheus = "",
    cluster: Folder = "",
    output: Output = "text",
) -> None:
    """Say whether we can reach, and may do, what a promotion of this service needs."""
    from rollout.adapters import clock
    from rollout.adapters.strategy_files import load
    from rollout.cli import console
    from rollout.cli.checking import checked

    _check_output(output)
    named = load(strategy) if strategy else None
    world, metrics = _world(cluster, context, prometheus, metrics=False)
    counters = metrics if cluster or prometheus else None
    found = list(checked(world, counters, service, _namespace(world, cluster, namespace), clock.now(), named))
    if output == "json":
        console.print_json([vars(one) for one in found])
    else:
        for one in found:
            print(f"{'ok  ' if one.good else 'FAIL' if one.needed else 'warn'} {one.text}")
    raise typer.Exit(0 if all(one.good or not one.needed for one in found) else 3)


@app.command()
def proxy(
    service: Service,
    namespace: Namespace = "",
    clients: Annotated[
        list[str],
        typer.Option(
            metavar="NS", help="Where its clients are; may be given again. Else: where it and its VirtualServices are."
        ),
    ] = [],  # noqa: B006 - typer copies it
    sample: Annotated[int, typer.Option(min=1, max=1000, help="How many proxies are asked, at most.")] = SAMPLE,
    context: Context = "",
    cluster: Folder = "",
    output: Output = "text",
) -> None:
    """Ask the clients' proxies which weights they really have; writes nothing; 1: one has others than it should."""
    from rollout.cli import console

    _check_output(output)
    told, code = _obeyed(service, namespace, cluster, context, output, clients, sample)
    if output == "json":
        console.print_json(told)
    raise typer.Exit(code)


def _obeyed(
    service: str,
    namespace: str,
    folder: str,
    context: str,
    output: str,
    clients: "Sequence[str]" = (),
    most: int = SAMPLE,
) -> tuple[dict[str, "Any"], int]:
    """Ask a sample of proxies: the answers as data, said at once as text if so wished, and the exit code."""
    from rollout import wiring
    from rollout.cli import proxies

    world, envoys = wiring.proxied_world(Path(folder) if folder else None, context or None)
    found = proxies.sampled(world, envoys, service, _namespace(world, folder, namespace), clients, most)
    if output == "text":
        proxies.shown(found)
    return proxies.document(found), found.exit


@app.command()
def gitops(
    service: Service,
    namespace: Namespace = "",
    context: Context = "",
    cluster: Folder = "",
    delegate: Annotated[
        bool, typer.Option("--delegate", help="Split the VirtualService: Git keeps the root, a rollout moves the rest.")
    ] = False,
    route: Named = [],  # noqa: B006
    output: Output = "text",
) -> None:
    """Print what to tell Argo CD or Flux, or the VirtualService split so that they ignore nothing; writes nothing."""
    from rollout.cli import console
    from rollout.cli import gitops as git

    _check_output(output)
    world, _ = _world(cluster, context, "", metrics=False)
    asked = world, service, _namespace(world, cluster, namespace), _names(route)
    found = git.delegated(*asked) if delegate else git.rules(*asked)
    if output == "json":
        console.print_json(found)
    else:
        print(*(git.told_documents(found) if delegate else git.told_rules(found)), sep="\n")


@strategies_app.callback(invoke_without_command=True)
def strategies(context: typer.Context) -> None:
    """List the presets."""
    from rollout.adapters.strategy_files import load, presets

    if context.invoked_subcommand is None:
        for preset in presets():
            print(f"{preset:12} {load(preset).description}")


@strategies_app.command("show")
def strategies_show(name: Annotated[str, typer.Argument(metavar="NAME|FILE")]) -> None:
    """Print a preset with its comments, to edit and use; or a file of yours as it is understood."""
    from rollout.adapters.strategy_files import shown

    print(shown(name).rstrip())


@strategies_app.command("schema")
def strategies_schema() -> None:
    """Print the JSON Schema of a strategy, by which editors complete and check."""
    from rollout.adapters.strategy_files import schema
    from rollout.cli import console

    console.print_json(schema())


@app.command()
def judge(
    strategy: StrategyName = "canary",
    output: Output = "text",
) -> None:
    """Judge looks that others took: JSON lines on stdin, a verdict a line; exit code 1 if it would lower the weight."""
    import json

    from rollout.cli.console import verdict_line
    from rollout.cli.judging import Stream
    from rollout.core.attempt import Verdict

    _check_output(output)
    harm = False
    for told in Stream(_judging(strategy)).answers(sys.stdin):
        harm = harm or told.reading.verdict in (Verdict.ROLLBACK, Verdict.DOUBT)
        if told.note:
            print(f"rollout: {told.note}; the look is left out", file=sys.stderr, flush=True)
        print(json.dumps(told.document()) if output == "json" else verdict_line(told.at, told.reading), flush=True)
    raise typer.Exit(1 if harm else 0)


@app.command()
def backtest(
    service: Service,
    to: To,
    at: Annotated[
        list[str],
        typer.Option(metavar="TIME", help="When it began: 2026-11-24T14:05:00Z, or '2026-11-24 14:05'; may repeat."),
    ],
    stable: Annotated[
        str, typer.Option("--from", metavar="VERSION", help="The version before; else the one that served most.")
    ] = "",
    strategy: StrategyName = "canary",
    namespace: Namespace = "",
    context: Context = "",
    prometheus: Prometheus = "",
    cluster: Folder = "",
    output: Output = "text",
) -> None:
    """Judge past releases anew from the Prometheus history; needs no cluster where the namespace is named."""
    from rollout import wiring
    from rollout.adapters import clock
    from rollout.cli import backtesting, console
    from rollout.core.errors import InvalidInput
    from rollout.engine.archive import recalled
    from rollout.mesh.hosts import fqdn
    from rollout.ports import Target

    _check_output(output)
    chosen, now = _judging(strategy), clock.now()
    if stable == to:
        raise InvalidInput(f"--from and --to are both {to}; name two versions")
    began = backtesting.moments(at, now)
    if namespace and not cluster:
        metrics = wiring.prometheus_at(prometheus)
    else:
        world, metrics = _world(cluster, context, prometheus)
        namespace = _namespace(world, cluster, namespace)
    target, found, bad = Target(fqdn(service, namespace), namespace, (), stable, to), [], False
    for text, moment in zip(at, began, strict=True):
        try:
            replay = recalled(metrics, target, chosen, moment, now)
        except InvalidInput as error:
            print(f"rollout: {text}: {error}", file=sys.stderr, flush=True)
            bad = True
            continue
        found.append(backtesting.document(replay, moment))
        if output == "text":
            print(*backtesting.told(replay, moment), sep="\n", flush=True)
    if output == "json":
        console.print_json(found)
    raise typer.Exit(2 if bad else 0)


@app.command()
def watch(
    service: Service,
    strategy: StrategyName = "canary",
    stable: Annotated[
        str, typer.Option("--from", metavar="VERSION", help="The version that serves; else who has most of it.")
    ] = "",
    to: Annotated[
        str, typer.Option("--to", metavar="VERSION", help="The new version; else who shares with the one that serves.")
    ] = "",
    namespace: Namespace = "",
    context: Context = "",
    prometheus: Prometheus = "",
    cluster: Folder = "",
    lasting: Annotated[str, typer.Option("--for", metavar="DURATION", help="Leave after so long, such as 1h.")] = "",
    output: Output = "text",
) -> None:
    """Judge what somebody else (Flagger, Argo Rollouts, a person) does to the weights; writes nothing; 1: saw harm."""
    import json
    import math

    from rollout.adapters import clock
    from rollout.cli import watching
    from rollout.core.errors import InvalidInput
    from rollout.core.quantities import duration
    from rollout.engine.survey import Request
    from rollout.engine.watching import Watch

    _check_output(output)
    chosen, seconds = _judging(strategy), duration(lasting) if lasting else math.inf
    if not seconds:
        raise InvalidInput("--for must be longer than 0s")
    if to and stable == to:
        raise InvalidInput(f"--from and --to are both {to}; name two versions")
    world, metrics = _world(cluster, context, prometheus)
    found = Watch(world, metrics, Request(service, _namespace(world, cluster, namespace), to, chosen, stable))
    code = watching.stay(found, seconds, watching.told_as(output))
    replay = found.replay(clock.now())
    print(json.dumps(watching.last(replay)) if output == "json" else watching.closing(replay))
    raise typer.Exit(code)


@app.command()
def simulate(
    rps: Annotated[float, typer.Option(min=0.001, help="Requests a second of all users.")] = 100.0,
    stable_errors: Annotated[float, typer.Option(min=0, max=1, help="The share that stable fails.")] = 0.001,
    canary_errors: Annotated[float, typer.Option(min=0, max=1, help="The share that the canary fails.")] = 0.001,
    runs: Annotated[int, typer.Option(min=1, help="How many rollouts.")] = 1000,
    seed: Annotated[int, typer.Option(help="The first run's seed; each has its own.")] = 1,
    look: Annotated[str, typer.Option(metavar="DURATION", help="Between two looks.")] = "5s",
    scrape: Annotated[
        str, typer.Option(metavar="DURATION", help="Between two readings of a client's counters; 0s: at each look.")
    ] = "0s",
    clump: Annotated[float, typer.Option(min=1, help="Errors come in clumps of so many on average.")] = 1.0,
    outage: Annotated[
        str, typer.Option(metavar="DURATION@SHARE", help="Both versions fail, once before and once over a new weight.")
    ] = "",
    late: Annotated[str, typer.Option(metavar="DURATION", help="Until then the canary is as good as stable.")] = "0s",
    latency_factor: Annotated[float, typer.Option(min=0.01, help="How many times as slow the canary is.")] = 1.0,
    strategy: StrategyName = "canary",
    compare: Annotated[
        bool, typer.Option("--compare", help="What Flagger, Argo Rollouts and Kayenta do, too.")
    ] = False,
    output: Output = "text",
) -> None:
    """Run virtual rollouts with the engine's own decision and judge, and see how they end."""
    from rollout.adapters.strategy_files import load
    from rollout.cli import console, simulating
    from rollout.core.errors import InvalidInput
    from rollout.core.quantities import duration
    from rollout.lab.traffic import Truth

    _check_output(output)
    truth = Truth(
        rps, stable_errors, canary_errors, clump, late=duration(late), latency_factor=latency_factor,
        scrape=duration(scrape),
    )  # fmt: skip
    every = duration(look)
    if every < 1:
        raise InvalidInput(f"--look is {look}; the shortest is 1s")
    question = simulating.Question(truth, runs, seed, every, simulating.outage_of(outage))
    found = {}
    for name, summary in simulating.answered(question, load(strategy), compare):
        found[name] = simulating.document(summary)
        if output == "text":
            print(simulating.told(name, summary), flush=True)
    if output == "json":
        console.print_json(found)


@app.command()
def controller(
    namespace: Annotated[
        list[str],
        typer.Option("--namespace", "-n", metavar="NS", help="Only there; may be given again. Else: everywhere."),
    ] = [],  # noqa: B006 - typer copies it
    selector: Annotated[
        str,
        typer.Option(metavar="LABELS", help="Only objects with these labels, like team=a; nobody else's."),
    ] = "",
    context: Context = "",
    prometheus: Prometheus = "",
    lease_namespace: Annotated[
        str, typer.Option(metavar="NS", help="Where its Lease is, by which one of several leads.")
    ] = HOME,
    port: Annotated[int, typer.Option(help="Of /metrics, /healthz and /readyz.", min=0, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(help="How many objects are worked on at a time.", min=1, max=256)] = 8,
    drain: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0, help="Instead: begin nothing, take back what is in flight, and end by then."
        ),
    ] = 0,
) -> None:
    """Carry every ServiceRollout of a cluster to the version that it asks for, unattended."""
    from rollout.controller.controller import Settings, lease_name
    from rollout.controller.draining import AGAIN
    from rollout.controller.serve import Options, drained, serve

    labels = _labels(selector)
    settings = Settings(lease_namespace, tuple(dict.fromkeys(namespace)), labels, workers, lease_name(labels))
    options = Options(context, prometheus, port)
    if not drain:
        serve(options, settings)
    elif left := drained(options, settings, drain):
        print("\n".join(["not drained:", *left, AGAIN]), file=sys.stderr)
        raise typer.Exit(4)


def _labels(selector: str) -> dict[str, str]:
    from rollout.core.errors import InvalidInput

    pairs = [part.split("=") for part in selector.split(",")] if selector else []
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise InvalidInput(f"--selector is like team=a,tier=b, not {selector!r}")
    return {key.strip(): value.strip() for key, value in pairs}


@app.command()
def demo(
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="good (default), errors, rejections, slow, crash, mirror, fault-drill, no-traffic, outage; may repeat."
        ),
    ] = None,
    rps: Annotated[int, typer.Option(min=1, help="Requests a second.")] = 500,
    speed: Annotated[float, typer.Option(min=0.1, max=100, help="Divide the strategy's durations by this.")] = 10.0,
    output: Output = "text",
) -> None:
    """Play a rollout on this machine, with real requests through a real Envoy."""
    from rollout.adapters.strategy_files import presets
    from rollout.cli import console
    from rollout.cli import demo as demos

    _check_output(output)
    text, played = output == "text", scenario or ["good"]
    demos.check(played)
    if text:
        print(f"# strategies/canary.yaml, {speed:g} times as fast\n{presets()['canary']}")
    results = []
    for one in played:
        if text:
            sent = 0 if one == "no-traffic" else rps
            print(f"--- {one}: {sent} requests a second from users through Envoy to reviews v1; promoting v2 ---")
        with console.teller(output) as tell:
            results.append(demos.play(one, rps, speed, tell, demos.talk))
        if text:
            print(demos.told(results[-1]), flush=True)
    if not text:
        shown = [{key: value for key, value in result.items() if key != "exit"} for result in results]
        console.print_json(shown if len(shown) > 1 else shown[0])
    if len(results) == 1:
        raise typer.Exit(int(results[0]["exit"]))
    raise typer.Exit(0 if all(r["exit"] == demos.ENDS[r["scenario"]] for r in results) else 1)


@playground_app.command("up")
def playground_up(
    folder: Annotated[Path, typer.Argument(help="Where its documents go.")] = Path("playground"),
    rps: Annotated[int, typer.Option(min=0, help="Requests a second.")] = 500,
) -> None:
    """Keep the playground running until Ctrl-C; every verb works on it with --cluster FOLDER."""
    from rollout.core.errors import InvalidInput
    from rollout.playground.stage import Playground, alone

    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is no folder; name one for the playground's documents")
    if not alone(folder):
        raise InvalidInput(f"a playground runs in {folder} already; end it first, or name another folder")
    with Playground(folder, rps) as playground:
        (playground.own / "pid").write_text(str(os.getpid()))
        print(f"up in {folder}; in another terminal: rollout promote reviews --to v2 --cluster {folder}")
        print(f"users ask http://127.0.0.1:{playground.entrance}/ with `host: reviews`; so may your probes", flush=True)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            playground.wait_for_end()
        except KeyboardInterrupt:
            print("down", file=sys.stderr)


@playground_app.command("fail")
def playground_fail(
    version: Annotated[str, typer.Argument(help="v1, v2 or v3.")],
    folder: Annotated[Path, typer.Argument(help="The playground's folder.")] = Path("playground"),
    percent: Annotated[float, typer.Option(min=0, max=100, help="Of its answers; 0 heals it.")] = 5.0,
    refuse: Annotated[bool, typer.Option("--refuse", help="Let it refuse connections.")] = False,
) -> None:
    """Let a version of reviews fail a share of its answers, or refuse connections."""
    from rollout.core.errors import InvalidInput
    from rollout.playground.service import Orders
    from rollout.playground.stage import order

    if not (folder / ".playground").is_dir():
        raise InvalidInput(f"no playground in {folder}; start one with `rollout playground up {folder}`")
    if version not in ("v1", "v2", "v3"):
        raise InvalidInput(f"there is no version {version!r} of reviews in the playground; there are v1, v2 and v3")
    order(folder, version, Orders(percent / 100, refuse=refuse))


def _version(value: bool) -> None:
    if value:
        print(f"rollout {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    """Options that stand before a verb."""
