"""Law 7: a view is a function of the document alone, and opening a store again changes nothing."""

from __future__ import annotations

from tests.laws.copying import deliver_content, newcomer
from tests.laws.histories import Law, hold
from tests.laws.seeing import Everything, see
from tests.laws.world import Device, World


class Views(Law):
    """Re-opened, derived anew, or made from the documents alone: everything looks the same."""

    def before_opening(self, world: World, device: Device) -> Everything:
        return see(device.replica)

    def after_opening(self, world: World, device: Device, before: Everything) -> None:
        assert see(device.replica) == before

    def while_apart(self, world: World) -> None:
        for device in world.devices:
            before = see(device.replica)
            device.replica.port.rederive([key for key, _ in before.versions])
            assert see(device.replica) == before, "deriving anew changes what is shown"
            with newcomer(device.replica) as copy:
                deliver_content(copy, device.replica)
                assert see(copy) == before, "what is shown is not a function of the documents"


class TestViews:
    def test_opening_again_deriving_anew_and_copying_documents_change_nothing(self) -> None:
        """States: what a replica shows is computed from its documents, however they came and whenever that was done.

        Stores are closed or killed and opened again. It fails where something shown is kept beside the documents and
        not brought up to date with them, or where it depends on the replica that reads.
        """
        hold(Views())
