"""The Celery client: tells workers that there is a job, and how both sides are configured."""

from __future__ import annotations

from typing import Any

from celery import Celery

from core.settings import Settings

QUEUE = "lethe"
"""Where workers listen that serve every class."""

TASK = "lethe.work"
"""The one task: a wake-up. Its argument is for the log; a worker claims by due date."""


def queue_of(job_class: str) -> str:
    """Where workers listen that were told which classes they serve."""
    return f"{QUEUE}-{job_class}"


def celery_app(settings: Settings) -> Celery:
    """A Celery application for the broker in force; the worker adds its task to it."""
    app = Celery(
        "lethe", broker=settings.broker_url or "filesystem://localhost", set_as_current=False
    )
    options: dict[str, Any]
    if settings.broker_url is None:
        folder = settings.home.absolute() / "broker"
        for name in ("messages", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        messages = str(folder / "messages")
        options = {
            "data_folder_in": messages,
            "data_folder_out": messages,
            "control_folder": str(folder / "control"),
            "polling_interval": 0.2,
        }
    else:
        options = {
            "socket_connect_timeout": 2,
            "socket_timeout": 5,
            "visibility_timeout": 3600,
            "global_keyprefix": "lethe:",
        }
    app.conf.update(
        broker_transport_options=options,
        broker_connection_retry_on_startup=True,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=True,
        task_reject_on_worker_lost=False,  # the row is the truth: sweep sends again
        worker_prefetch_multiplier=1,
        worker_proc_alive_timeout=60,  # seconds; a child imports torch before it reports itself
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_default_queue=QUEUE,
        event_queue_ttl=60,
    )
    return app


class Queue:
    """Sends wake-ups by the task's name, so that the front knows nothing of the worker."""

    def __init__(self, settings: Settings) -> None:
        self._app = celery_app(settings)
        # One try: who answers a request must not wait seconds for a broker that is gone.
        self._app.conf.broker_transport_options["max_retries"] = 0

    def wake(self, job_id: str, queue: str = QUEUE) -> None:
        """Send one wake-up; raises what the broker raises. Called after commit only."""
        self._app.send_task(TASK, args=[job_id], queue=queue, ignore_result=True, retry=False)
