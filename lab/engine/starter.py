"""What passes between a supervisor and the command that starts it, over a socket pair, while the lab is being built.

    starter -> supervisor    {"lab": name, "run": folder}                 first
    supervisor -> starter    {"progress": what, "done": n, "total": n}    any number of these
                             {"up": run}                                  or, instead,
                             {"error": message, "hint": text, "exit_code": n}
    starter -> supervisor    HEARD                                        after `up`

Each message is a line of JSON. The process of the supervisor may begin before there is a plan: its Python starts while
the command reads the topology. A starter that closes its end at any time before HEARD gives the lab up: then nobody
knows of it, and it goes.
"""

from __future__ import annotations

HEARD = b"heard\n"

HEARD_TIMEOUT = 10.0
"""Seconds that a starter may take to answer `up`."""

UNDO_TIMEOUT = 5.0
"""Seconds that a supervisor may take to undo what it has built when its starter gives up."""
