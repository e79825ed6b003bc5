"""Which protocol scores the samples of a run."""

from collections.abc import Mapping
from typing import NamedTuple

from vdm_jax.data.source import Reader
from vdm_jax.errors import UserError
from vdm_jax.evals.protocol import Protocol, ProtocolConfig, Suite
from vdm_jax.nn.config import NetworkConfig


class Selection(NamedTuple):
    """Which protocols score the samples of a run.

    Attributes:
      protocols: Those that do, one after the other.
      left_out: Of those of a suite that do not, the reasons by name.
    """

    protocols: tuple[Protocol, ...]
    left_out: dict[str, str]


def select_protocols(
    protocol: ProtocolConfig,
    protocols: Mapping[str, type[ProtocolConfig]],
    reader: Reader,
    network: NetworkConfig,
    context_frames: int,
) -> Selection:
    """Return the protocols of a suite that fit, or the one protocol that `choose_protocol` returns.

    Args:
      protocol: Of config.evaluate.
      protocols: All classes by their names.
      reader: What samples are held against.
      network: What makes the samples.
      context_frames: With how many the network was trained.

    Raises:
      UserError: None fits.
    """
    if not isinstance(protocol, Suite):
        return Selection((choose_protocol(protocol, protocols, reader, network),), {})

    chosen: list[Protocol] = []
    left_out: dict[str, str] = {}
    for name in protocol.members:
        member = protocols[name]()
        assert isinstance(member, Protocol)  # a suite has no suite
        fitting = member.for_context(context_frames)
        reason = (fitting or member).refusal(reader, network)
        if reason is None and fitting is not None:
            chosen.append(fitting)
        else:
            left_out[name] = reason or 'the network was trained without context frames'
    if not chosen:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in left_out.items())
        raise UserError(f'config.evaluate.protocol: none of the suite fits: {reasons}')
    return Selection(tuple(chosen), left_out)


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
    if isinstance(protocol, Suite):
        raise UserError('config.evaluate.protocol: a suite of several; here one protocol is wanted')
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
