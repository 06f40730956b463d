"""Exit 0 when TensorBoard answers inside its own container."""

from __future__ import annotations

from urllib.request import urlopen

if __name__ == "__main__":
    # A fixed address; raises on any status but 2xx and 3xx.
    with urlopen("http://127.0.0.1:6006/", timeout=4):  # nosec B310
        pass
