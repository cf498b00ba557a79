"""How much each endpoint gets at once, so that none disturbs another: limits, circuits, places, backlogs.

pacing.py    which job starts, waits or is parked: the only door
pace.py      what is kept of one endpoint                kinds.py    how requests end, why jobs wait
limit.py     requests at once, by its time to answer     rate.py     requests a second
circuit.py   away, or told us to wait                    backlog.py  where parked jobs wait
places.py    the places of the process                   registry.py all paces and hosts
waiters.py   those with something waiting               worst.py    for the operator: the worst endpoints now
"""

from consumers.delivery.pacing.kinds import DELIVERED, Result
from consumers.delivery.pacing.pacing import Pacing
from consumers.delivery.pacing.registry import PacingLimits
from consumers.delivery.pacing.worst import EndpointView, census, worst

__all__ = ["DELIVERED", "EndpointView", "Pacing", "PacingLimits", "Result", "census", "worst"]
