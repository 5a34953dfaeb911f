"""The proven identity at the other end of a channel: what a handshake yields and a session starts with."""

from __future__ import annotations

from dataclasses import dataclass

from crdt_sync.core.ids import DeviceId, device_id

PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerIdentity:
    """Whose signature the handshake verified; make it with `of`, so that name and key always belong together.

    Invariant: ``device_id`` is `crdt_sync.core.ids.device_id` of ``public_key``.

    Args:
        device_id: the device's name, derived from its key.
        public_key: 32 bytes of an Ed25519 public key.

    Raises:
        ValueError: the key is not 32 bytes, or the name is not the key's.
    """

    device_id: DeviceId
    public_key: bytes

    def __post_init__(self) -> None:
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise ValueError(f"a public key has {PUBLIC_KEY_BYTES} bytes, this one {len(self.public_key)}")
        if self.device_id != device_id(self.public_key):
            raise ValueError("the device id is not the one of this public key")

    @classmethod
    def of(cls, public_key: bytes) -> PeerIdentity:
        """Identify a device by its public key alone."""
        return cls(device_id=device_id(public_key), public_key=public_key)

    def __repr__(self) -> str:
        return f"<peer {self.device_id}>"
