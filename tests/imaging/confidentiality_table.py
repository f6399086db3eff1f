"""Writes src/imaging/dicom/confidentiality.csv: PS3.15 Table E.1-1, basic profile.

    pip install dicom-anonymizer==2.1.0
    python tests/imaging/confidentiality_table.py > src/imaging/dicom/confidentiality.csv

The table's facts are taken from that package's 2026c list, which is generated from the standard;
`mask` is FFFFFFFF for a single attribute, else the bits of the tag that must match.
"""

from __future__ import annotations

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

ACTIONS = {
    "D": table.D_TAGS,
    "Z": table.Z_TAGS,
    "X": table.X_TAGS,
    "U": table.U_TAGS,
    "Z/D": table.Z_D_TAGS,
    "X/Z": table.X_Z_TAGS,
    "X/D": table.X_D_TAGS,
    "X/Z/D": table.X_Z_D_TAGS,
    "X/Z/U*": table.X_Z_U_STAR_TAGS,
}


def main() -> None:
    """Prints the table, sorted by tag."""
    rows = {}
    for action, tags in ACTIONS.items():
        for tag in tags:
            group, element, *mask = tag
            rows[group, element] = (mask or [0xFFFF, 0xFFFF], action)
    print("# PS3.15 2026c, Table E.1-1, column Basic Prof.; made by tests/imaging/confidentiality_table.py")
    print("tag,mask,action")
    for (group, element), (mask, action) in sorted(rows.items()):
        print(f"{group:04X}{element:04X},{mask[0]:04X}{mask[1]:04X},{action}")


if __name__ == "__main__":
    main()
