"""A master in process with real signed packages in its store, and cards that are told to run them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.check_desk import ChangeNote, line
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.model.ids import NEUTRAL_CPU, Digest, SlotId
from firmware_mgr.package.contents import Dependency
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package
from firmware_mgr.packaging.keys import SigningKey
from tests.master.rack_twin import Rack
from tests.package.samples import KEY, read

BUILD_DATE = 1_780_000_000


def package_file(
    title: str,
    *,
    local: Sequence[str] = (),
    remote: Sequence[str] = (),
    upgrades: Sequence[str] = (),
    modules: Sequence[ModuleSource] = (),
    key: SigningKey = KEY,
) -> bytes:
    """`ssl 3.0.1`, and what it needs: `base >= 1`."""
    name, version = title.split(" ")
    head = PackageHead(
        name,
        version,
        BUILD_DATE,
        tuple(map(_dependency, sorted(local))),
        tuple(map(_dependency, sorted(remote))),
        tuple(map(_dependency, sorted(upgrades))),
    )
    return build_package(head, modules, [key])


def _dependency(text: str) -> Dependency:
    name, _, constraint = text.partition(" ")
    return Dependency(name, constraint)


class StockedRack(Rack):
    """Its catalogue holds no package but those that are stocked, and every package is for any CPU."""

    async def __aenter__(self) -> StockedRack:
        await super().__aenter__()
        await self.master.remove_package("web", "1.0")
        return self

    async def stock(self, *files: bytes, readable: bool = True) -> list[PackageRecord]:
        """Add packages, the last one the newest; `readable` says whether their bytes are there too."""
        records = []
        for file in files:
            self.clock.now += 1.0
            toc, digest = read(file), Digest.of(file)
            record = PackageRecord(toc.name, toc.version, digest, len(file), (NEUTRAL_CPU,), self.clock.now)
            if readable:
                self.blobs.add(io.BytesIO(file), digest)
            await self.catalogue.transact([], [Put(record.key, record.to_document())])
            records.append(record)
        await self.master.load_software()
        return records

    async def name(self, slot: int, *wishes: str, note: ChangeNote | None = None) -> None:
        """Have the card name these packages by itself."""

        def change(own: Configuration, _board: str) -> Configuration:
            return replace(own, packages=wishes)

        await self.master.set_own([SlotId(slot)], change, note)

    async def lacking(self) -> list[str]:
        """What is missing now, a line each."""
        return [line(one) for one in (await self.master.checks.current()).report.discrepancies]
