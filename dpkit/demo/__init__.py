"""The main job as a program: ten parties train on MNIST, nobody sees a part, and the ledger says what it cost.

Modules in the order data flows: `data` (digits and their non-IID shards), `model` (the network and one party's clipped
sum), `run` (rounds), `progress` (the bar), `report` (table, statement, JSON, plot).
"""

from __future__ import annotations

__all__: list[str] = []
