# racy: read keeps filter
from pathlib import Path


def unsubscribe(address: str) -> bool:
    path = Path("subscribers.txt")
    subscribers = path.read_text().splitlines()
    remaining = [s for s in subscribers if s != address]
    path.write_text("\n".join(remaining))
    return len(remaining) < len(subscribers)
