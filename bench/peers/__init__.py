"""The engines `make compare` knows, each an adapter of its own: see adapter.py for what one has to offer."""
from .exim import Exim
from .haraka import Haraka
from .kumomta import Kumomta
from .opensmtpd import Opensmtpd
from .postfix import Postfix
from .postrider import Postrider

PEERS = [Postfix, Exim, Opensmtpd, Haraka, Kumomta]
ENGINES = {engine.name: engine for engine in [Postrider, *PEERS]}
