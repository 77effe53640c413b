"""XDP links: attach, swap the program, detach."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from provisioner.kernel import bpffs, links, maps, objects
from provisioner.kernel.host import ifindex
from provisioner.kernel.objects import LoadedObject
from provisioner.kernel.reasons import KernelError
from provisioner.model.attachment import CreateLink
from provisioner.model.errors import HostError
from provisioner.model.uapi import AttachType, LinkType, XdpMode
from tests.conftest import Veth
from tests.kernel.shapes import ARRAY
from tests.problems import raises


@pytest.fixture
def loaded(bpf_object: Callable[[str], Path]) -> Iterator[LoadedObject]:
    with objects.load(bpf_object("outers"), inner_templates={"tenants": ARRAY}) as object_:
        yield object_


@pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.GENERIC, XdpMode.AUTO], ids=lambda mode: str(mode.name))
def test_attach_swap_and_detach(mode: XdpMode, veth: Veth, loaded: LoadedObject) -> None:
    first, second = loaded.programs["first"], loaded.programs["second"]
    index = ifindex(veth.name)
    with links.create(first, CreateLink(AttachType.XDP, int(mode)), index) as link:
        info = links.info(link)
        assert (info.target, info.type) == (index, LinkType.XDP)
        assert info.prog_id == links.program_info(first).id
        assert info.id in set(links.link_ids())
        links.update(link, second)
        assert links.info(link).prog_id == links.program_info(second).id
        assert links.info(link).id == info.id
        links.detach(link)
        assert links.info(link).target == 0
        with raises(KernelError, "link-detached") as caught:
            links.update(link, first)
        assert caught.value.errno == errno.ENOLINK


def test_a_second_attachment_is_refused_in_words(veth: Veth, loaded: LoadedObject) -> None:
    program, index = loaded.programs["first"], ifindex(veth.name)
    with (
        links.create(program, CreateLink(AttachType.XDP), index),
        raises(KernelError, "xdp-busy") as caught,
    ):
        links.create(program, CreateLink(AttachType.XDP), index, name=veth.name)
    assert caught.value.problems[0].address == veth.name


def test_a_pinned_link_outlives_its_fd(veth: Veth, loaded: LoadedObject, pin_root: Path) -> None:
    with links.create(loaded.programs["first"], CreateLink(AttachType.XDP), ifindex(veth.name)) as link:
        number = links.info(link).id
        bpffs.pin(link, pin_root / "link")
    bpffs.pin(loaded.programs["first"], pin_root / "program")
    with links.open_link_pin(pin_root / "link") as again, links.open_program_pin(pin_root / "program") as program:
        assert links.info(again).id == number
        assert links.program_info(program).id == links.info(again).prog_id
        with links.open_program_id(links.info(again).prog_id) as by_id:
            assert links.program_info(by_id) == links.program_info(program)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_pinned_link_is_no_map(readonly: bool, veth: Veth, loaded: LoadedObject, pin_root: Path) -> None:
    with links.create(loaded.programs["first"], CreateLink(AttachType.XDP), ifindex(veth.name)) as link:
        bpffs.pin(link, pin_root / "tenants")
    with raises(HostError, "pin-kind"):
        maps.open_pin(pin_root / "tenants", readonly)


def test_a_missing_interface_is_said() -> None:
    with raises(HostError, "attach-target-missing"):
        ifindex("none-such")


def test_an_interface_that_is_gone(loaded: LoadedObject) -> None:
    with raises(KernelError, "attach-unsupported"):
        links.create(loaded.programs["first"], CreateLink(AttachType.XDP), 999_999)
