"""`halftone webhooks`: how the webhook of a request was delivered."""

from typing import Annotated

import typer

import halftone
from halftone_cli.commands.requests import IdArgument
from halftone_cli.progress import plural
from halftone_cli.terminal import print_json, print_quiet, say


def webhooks(
    client: halftone.Client,
    request_id: IdArgument,
    replay: Annotated[
        bool, typer.Option("--replay", help="Send the newest event again, then show all.")
    ] = False,
) -> None:
    """Show the webhook events of a request and every attempt to deliver them."""
    if replay:
        client.replay(request_id)
        say("The newest event is sent again.")
    found = client.webhooks(request_id)
    print_json(found.raw)
    if found.url is None:
        say("The request has no webhook_url.")
        return
    say(f"Webhook of request {request_id}: {found.url}", style="bold")
    if not found.events:
        say("  Nothing was sent yet: the request has not ended.")
    for event in found.events:
        _show_event(event)


def _show_event(event: halftone.WebhookDelivery) -> None:
    print_quiet(event.status)
    next_at = event.next_attempt_at
    later = f", next attempt {next_at:%Y-%m-%d %H:%M:%S} UTC" if next_at else ""
    say(f"  {event.webhook_id}: {event.status} after {plural(event.attempts, 'attempt')}{later}")
    for attempt in event.log:
        answer = attempt.status_code if attempt.error is None else attempt.error
        say(f"    {attempt.started_at:%Y-%m-%d %H:%M:%S}  {attempt.duration_ms} ms  {answer}")
