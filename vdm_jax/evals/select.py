"""Which protocol scores the samples of a run."""

from collections.abc import Mapping

from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals.protocol import Protocol, ProtocolConfig
from vdm_jax.nn.config import NetworkConfig


def choose_protocol(
    protocol: ProtocolConfig, protocols: Mapping[str, type[ProtocolConfig]], reader: Reader, network: NetworkConfig
) -> Protocol:
    """Return the protocol that a config names, or in place of UsualProtocol the source's usual one.

    Args:
      protocol: Of config.evaluate, with its parameters.
      protocols: All classes by their names.
      reader: What samples are held against.
      network: What makes the samples.

    Raises:
      UserError: It cannot score samples of such a network on such a source, or none is usual for them.
    """
    if not isinstance(protocol, Protocol):
        return _choose_usual(protocols, reader, network)

    reason = protocol.refusal(reader, network)
    if reason:
        name = next(name for name, cls in protocols.items() if cls is type(protocol))
        raise UserError(f'--protocol={name}: {reason} (config.evaluate.protocol may name another)')
    return protocol


def _choose_usual(protocols: Mapping[str, type[ProtocolConfig]], reader: Reader, network: NetworkConfig) -> Protocol:
    every = {name: cls() for name, cls in protocols.items() if issubclass(cls, Protocol)}
    fitting = {name: each for name, each in every.items() if each.refusal(reader, network) is None}
    for protocol in fitting.values():
        if protocol.is_usual_for(reader, network):
            return protocol

    # A protocol that is usual for such a source says what clips of this one lack.
    reasons = [each.lack(reader) for each in fitting.values() if type(reader.source) in each.usual_sources]
    lacking = ''.join(f' without {reason}' for reason in reasons if reason)
    kind = type(reader.source).__name__
    raise UserError(
        f'--protocol is missing: none is usual for a {kind}{lacking}; one of {", ".join(fitting)} '
        '(config.evaluate.protocol may name it)'
    )
