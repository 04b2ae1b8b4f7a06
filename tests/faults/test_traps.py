"""The known traps of real exports, each built from a good plan, each with its code.

docs/traps.md is the table of the same traps; a test keeps both together. Longer than other files on
purpose: one list, so that a trap that is missing is seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from cordgap.case.case import Case
from cordgap.check.verdict import judge
from cordgap.dicom import read_case
from cordgap.dicom.overrides import Overrides
from cordgap.dvh.integrate import compute_dvh
from cordgap.dvh.metrics import parse_metric
from cordgap.dvh.solid import build_solid
from cordgap.errors import CordgapError

ROOT = Path(__file__).parents[2]
# Stored doses are rounded to 1e-6 Gy and positions to ten digits: 1e-4 leaves room for both and is
# far below any effect that a trap has.
SAME = 1e-4


def blob(x, y, z):
    """Dose that falls off around a target at x = 12 mm, alike in no two directions."""
    return 30 * np.exp(-((x - 11) ** 2) / 150 - (y - 1) ** 2 / 130 - (z + 1) ** 2 / 260)


class Plan:
    """A good plan in a folder, with its files still open for damage."""

    def __init__(self, build, folder: Path) -> None:
        self.build, self.folder = build, folder
        self.rtstruct = build.rtstruct(self.rois())
        self.rtdose = build.rtdose(blob, **self.grid())
        self.rtplan = build.rtplan()
        self.others: dict[str, Dataset] = {}
        self.syntax = {}
        self.bare = False
        self.options: dict = {}

    def rois(self, cord=None):
        tube = self.build.tube
        return {
            "SpinalCord": tube(4.0, z=range(-15, 16, 3), n=48) if cord is None else cord,
            "GTV": tube(4.0, z=range(-3, 4, 3), n=48, centre=(12.0, 0.0)),
        }

    def grid(self, **how):
        default = {
            "spacing": (2.0, 2.0),
            "size": (19, 25, 25),
            "position": (-24.0, -24.0, -18.0),
            "offsets": np.arange(19) * 2.0,
        }
        return default | how

    def cord(self, contours) -> None:
        self.rtstruct = self.build.rtstruct(self.rois(contours))

    def dose(self, field=blob, **how) -> None:
        self.rtdose = self.build.rtdose(field, **self.grid(**how))

    @property
    def contours(self):
        return self.rtstruct.ROIContourSequence[0].ContourSequence

    def write(self) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        files = {"rtstruct": self.rtstruct, "rtdose": self.rtdose, "rtplan": self.rtplan}
        for name, ds in (files | self.others).items():
            if ds is not None:
                syntax = self.syntax.get(name, "1.2.840.10008.1.2")
                self.build.save(ds, self.folder / f"{name}.dcm", syntax, bare=self.bare)
        return self.folder


@dataclass(frozen=True)
class Outcome:
    """What became of a plan: verdict, codes by severity, and the numbers of the cord."""

    word: str
    codes: dict[str, str]
    numbers: tuple[float, ...] | None
    case: Case | None


def outcome(plan: Plan, folder: Path | None = None) -> Outcome:
    try:
        case = read_case(folder or plan.write(), **plan.options)
    except CordgapError as error:
        verdict = judge(None, (error.finding(),))
        return Outcome(verdict.word, {f.code: f.severity for f in verdict.findings}, None, None)
    verdict = judge(case, (), prescription=case.prescription)
    numbers = None
    if verdict.cord is not None and verdict.word != "refused":
        solid = build_solid(verdict.cord)
        dvh = compute_dvh(solid, case.dose, uncertainty=False)
        hot = parse_metric("D0.035cc[Gy]").evaluate(dvh, None).value
        numbers = (solid.volume_cc, dvh.mean_gy, hot if hot is not None else -1.0, dvh.max_gy)
    return Outcome(verdict.word, {f.code: f.severity for f in verdict.findings}, numbers, case)


@dataclass(frozen=True)
class Trap:
    """One way to break a plan; ``action`` as in docs/traps.md; ``codes`` that must be told."""

    number: int
    action: str
    codes: tuple[str, ...]
    spoil: Callable[[Plan], None]
    same: bool = False  # the numbers of the good plan

    @property
    def name(self) -> str:
        return f"{self.number}-{self.spoil.__name__}"


TRAPS: list[Trap] = []


def trap(number: int, action: str, *codes: str, same: bool = False):
    def add(spoil):
        TRAPS.append(Trap(number, action, codes, spoil, same))
        return spoil

    return add


# --- dose: where it is ---------------------------------------------------------------------------


@trap(1, "FIX", same=True)
def absolute_offsets(plan):
    plan.dose(absolute=True)


@trap(1, "REFUSE", "dose-frame-offsets")
def offsets_from_nowhere(plan):
    plan.rtdose.GridFrameOffsetVector = [str(7 + 2 * i) for i in range(19)]


@trap(2, "FIX", same=True)
def decreasing_offsets(plan):
    plan.dose(offsets=np.arange(19) * -2.0, position=(-24.0, -24.0, 18.0))


@trap(3, "REFUSE", "dose-frame-offsets")
def repeated_offset(plan):
    plan.rtdose.GridFrameOffsetVector = [str(2 * i) for i in range(18)] + ["34"]


@trap(4, "WARN", "dose-frames-uneven")
def uneven_offsets(plan):
    plan.dose(offsets=np.r_[0:30:2, 31, 33, 35, 36.0])


@trap(5, "FIX", same=True)
def head_first_prone(plan):
    plan.dose(orientation=(-1, 0, 0, 0, -1, 0), position=(24.0, 24.0, -18.0))


@trap(5, "FIX", same=True)
def feet_first_supine(plan):
    plan.dose(orientation=(-1, 0, 0, 0, 1, 0), position=(24.0, -24.0, 18.0))


@trap(5, "FIX", same=True)
def decubitus(plan):
    plan.dose(orientation=(0, -1, 0, 1, 0, 0), position=(-24.0, 24.0, -18.0))


@trap(6, "REFUSE", "dose-oblique")
def oblique(plan):
    tilt = np.deg2rad(1.1)
    plan.dose(orientation=(np.cos(tilt), np.sin(tilt), 0, -np.sin(tilt), np.cos(tilt), 0))


@trap(6, "FIX")
def round_off_of_the_orientation(plan):
    plan.rtdose.ImageOrientationPatient = ["0.9999", "1e-4", "0", "0", "1", "0"]


@trap(7, "FIX", "dose-pixels-not-square")
def rows_and_columns_of_different_spacing(plan):
    plan.dose(spacing=(2.4, 2.0), size=(19, 21, 25))


@trap(8, "REFUSE", "dose-units")
def relative_dose(plan):
    plan.rtdose.DoseUnits = "RELATIVE"


@trap(8, "REFUSE", "dose-units")
def centigray(plan):
    plan.rtdose.DoseUnits = "CGY"


@trap(8, "REFUSE", "dose-units")
def no_units(plan):
    del plan.rtdose.DoseUnits


@trap(8, "WARN", "dose-relative-scaled", same=True)
def relative_dose_with_its_meaning(plan):
    plan.dose(lambda x, y, z: blob(x, y, z) / 0.24)
    plan.rtdose.DoseUnits = "RELATIVE"
    plan.options["overrides"] = Overrides(relative_dose_gy=24.0)


@trap(9, "WARN", "dose-effective", same=True)
def effective_dose(plan):
    plan.rtdose.DoseType = "EFFECTIVE"


@trap(9, "REFUSE", "dose-type")
def error_dose(plan):
    plan.rtdose.DoseType = "ERROR"


def _beams(plan, beams, **how):
    plan.rtdose = None
    for beam in beams:
        plan.others[f"beam{beam}"] = plan.build.rtdose(
            lambda x, y, z: 0.5 * blob(x, y, z),
            number=50 + beam, kind="BEAM", beams=[beam], **plan.grid(**how),
        )  # fmt: skip


@trap(10, "FIX", "dose-summed-from-beams", same=True)
def beams_only(plan):
    _beams(plan, (1, 2))


@trap(10, "FIX", same=True)
def plan_dose_among_its_beams(plan):
    whole = plan.rtdose
    _beams(plan, (1, 2))
    plan.rtdose = whole


@trap(10, "REFUSE", "dose-beams-incomplete")
def one_beam_of_two(plan):
    _beams(plan, (1,))


@trap(10, "REFUSE", "dose-not-total")
def control_point_dose(plan):
    plan.rtdose.DoseSummationType = "CONTROL_POINT"


@trap(10, "WARN", "dose-summation-fraction", same=True)
def fraction_group_dose(plan):
    plan.rtdose.DoseSummationType = "FRACTION"


@trap(10, "WARN", "dose-multiplied", same=True)
def dose_of_one_fraction(plan):
    plan.dose(lambda x, y, z: 0.5 * blob(x, y, z), kind="FRACTION")
    plan.options["overrides"] = Overrides(one_fraction=True)


@trap(10, "REFUSE", "several-doses")
def doses_of_two_plans(plan):
    uid = plan.build.uid
    plan.others["other"] = plan.build.rtdose(blob, number=12, plan=uid(13), **plan.grid())


@trap(10, "WARN", "dose-summation-unusual", same=True)
def dose_of_several_plans(plan):
    plan.rtdose.DoseSummationType = "MULTI_PLAN"


@trap(11, "WARN", "dose-grids-resampled")
def beams_on_different_grids(plan):
    _beams(plan, (1, 2))
    plan.others["beam2"] = plan.build.rtdose(
        lambda x, y, z: 0.5 * blob(x, y, z), number=52, kind="BEAM", beams=[2],
        **plan.grid(spacing=(2.5, 2.5), size=(19, 20, 20)),
    )  # fmt: skip


@trap(12, "FIX", "dose-planes-assembled", same=True)
def one_file_per_plane(plan):
    plan.rtdose = None
    for index, z in enumerate(np.arange(19) * 2.0 - 18.0):
        ds = plan.build.rtdose(
            blob, number=f"7.{index}",
            **plan.grid(size=(1, 25, 25), position=(-24.0, -24.0, z), offsets=np.zeros(1)),
        )  # fmt: skip
        ds.SeriesInstanceUID = plan.build.uid("9.7")
        plan.others[f"plane{index}"] = ds


@trap(12, "REFUSE", "dose-planes-missing")
def one_plane_lost(plan):
    one_file_per_plane(plan)
    del plan.others["plane5"]


@trap(13, "REFUSE", "dose-scaling")
def no_scaling(plan):
    del plan.rtdose.DoseGridScaling


@trap(13, "REFUSE", "dose-scaling")
def zero_scaling(plan):
    plan.rtdose.DoseGridScaling = "0"


@trap(13, "REFUSE", "dose-implausible")
def huge_scaling(plan):
    plan.rtdose.DoseGridScaling = "1e3"


@trap(13, "REFUSE", "dose-zero")
def zero_dose(plan):
    plan.dose(lambda x, y, z: 0.0 * x)


@trap(14, "FIX")
def sixteen_bits(plan):
    plan.dose(bits=16)


@trap(14, "REFUSE", "dose-pixels-signed")
def signed_pixels(plan):
    plan.rtdose.PixelRepresentation = 1


@trap(14, "REFUSE", "dose-pixels-format")
def sixty_four_bits(plan):
    plan.rtdose.BitsAllocated = plan.rtdose.BitsStored = 64
    plan.rtdose.HighBit = 63


@trap(14, "REFUSE", "dose-pixels-missing")
def float_pixels(plan):
    del plan.rtdose.PixelData
    plan.rtdose.BitsAllocated = plan.rtdose.BitsStored = 32
    plan.rtdose.FloatPixelData = np.ones((19, 25, 25), "<f4").tobytes()


@trap(15, "REFUSE", "dose-pixels-truncated")
def truncated_pixels(plan):
    plan.rtdose.PixelData = plan.rtdose.PixelData[:1000]


@trap(16, "FIX", same=True)
def deflated(plan):
    plan.syntax["rtdose"] = DeflatedExplicitVRLittleEndian


@trap(16, "FIX")
def run_length_encoded(plan):
    plan.dose(bits=16)
    plan.build.save(plan.rtdose, plan.folder.parent / "scratch.dcm")
    plan.rtdose.compress(RLELossless, generate_instance_uid=False)
    plan.syntax["rtdose"] = RLELossless


@trap(17, "FIX", same=True)
def no_preamble(plan):
    plan.bare = True


@trap(18, "WARN", "dose-maximum-implausible", "target-dose-implausible")
def dose_below_the_prescription(plan):
    plan.dose(lambda x, y, z: 0.5 * blob(x, y, z))


@trap(18, "WARN", "dose-grid-cut")
def grid_cut_at_the_target(plan):
    plan.dose(size=(19, 25, 20))


@trap(19, "WARN", "cord-outside-dose-grid")
def cord_beyond_the_grid(plan):
    plan.dose(size=(9, 25, 25), position=(-24.0, -24.0, -8.0), offsets=np.arange(9) * 2.0)


@trap(20, "FIX", same=False)
def grid_offset_by_a_fraction_of_a_voxel(plan):
    plan.dose(position=(-24.37, -24.61, -18.41))


@trap(21, "WARN", "coarse-dose-grid")
def coarse_grid(plan):
    plan.dose(spacing=(3.0, 3.0), size=(19, 17, 17))


# --- references ----------------------------------------------------------------------------------


@trap(22, "WARN", "reference-dangling-rtplan", "reference-dangling-rtstruct", same=True)
def references_lead_nowhere(plan):
    uid = plan.build.uid
    plan.dose(plan=uid(99), struct=uid(98))
    plan.rtplan = plan.build.rtplan(struct=uid(98))


@trap(22, "WARN", "reference-dangling-rtplan", same=True)
def dose_without_plan(plan):
    plan.dose(plan=None)


@trap(23, "REFUSE", "frame-of-reference-differs")
def other_frame_of_reference(plan):
    plan.rtdose.FrameOfReferenceUID = "1.2.3.4"


@trap(23, "WARN", "frame-of-reference-overridden", same=True)
def other_frame_of_reference_accepted(plan):
    plan.rtdose.FrameOfReferenceUID = "1.2.3.4"
    plan.options["overrides"] = Overrides(ignore_frame_of_reference=True)


@trap(23, "WARN", "structure-other-frame", same=True)
def one_structure_of_another_frame(plan):
    rois = plan.rois() | {"MR lesion": plan.build.tube(3.0, z=range(-3, 4, 3))}
    plan.rtstruct = plan.build.rtstruct(rois)
    plan.rtstruct.StructureSetROISequence[2].ReferencedFrameOfReferenceUID = "1.2.3.4"
    item = Dataset()
    item.FrameOfReferenceUID = "1.2.3.4"
    plan.rtstruct.ReferencedFrameOfReferenceSequence.append(item)


@trap(24, "WARN", "patient-unknown", "frame-of-reference-missing", same=True)
def emptied_identity(plan):
    plan.rtstruct = plan.build.rtstruct(plan.rois(), frame=None)
    plan.dose(frame=None)
    for ds in (plan.rtstruct, plan.rtdose, plan.rtplan):
        ds.PatientID = ds.PatientName = ds.StudyInstanceUID = ""
        if "FrameOfReferenceUID" in ds:
            del ds.FrameOfReferenceUID
    plan.rtdose.ReferencedRTPlanSequence[0].ReferencedSOPInstanceUID = "1.2.99"
    plan.rtplan.ReferencedStructureSetSequence[0].ReferencedSOPInstanceUID = "1.2.98"


@trap(24, "REFUSE", "several-patients")
def two_patients(plan):
    build = plan.build
    for index, ds in enumerate(
        (
            build.rtstruct(number=31, frame="1.2.3", patient="OTHER"),
            build.rtdose(number=32, frame="1.2.3", patient="OTHER", plan=None),
        )
    ):
        ds.StudyInstanceUID = "1.2.3.9"
        plan.others[f"other{index}"] = ds


# --- structure sets ------------------------------------------------------------------------------


@trap(26, "REFUSE", "rtstruct-truncated")
def no_observations(plan):
    del plan.rtstruct.RTROIObservationsSequence


@trap(26, "REFUSE", "rtstruct-truncated")
def last_contour_short(plan):
    last = plan.rtstruct.ROIContourSequence[-1].ContourSequence[-1]
    last.ContourData = list(last.ContourData)[:30]


@trap(27, "FIX", same=True)
def contour_data_of_unknown_representation(plan):
    for contour in plan.contours:
        text = "\\".join(str(v) for v in contour.ContourData).encode()
        contour[0x30060050] = DataElement(0x30060050, "UN", text + b" " * (len(text) % 2))
    plan.syntax["rtstruct"] = ExplicitVRLittleEndian


@trap(28, "REFUSE", "contour-damaged")
def wrong_point_count(plan):
    plan.contours[3].NumberOfContourPoints = 7


@trap(28, "WARN", "contour-point-count", same=True)
def point_count_in_coordinates(plan):
    plan.contours[3].NumberOfContourPoints = 3 * 48


@trap(28, "REFUSE", "contour-damaged")
def coordinate_lost(plan):
    plan.contours[3].ContourData = list(plan.contours[3].ContourData)[:-1]


@trap(28, "REFUSE", "contour-damaged")
def empty_coordinate(plan):
    text = "\\".join(str(v) for v in plan.contours[3].ContourData[1:]).encode()
    plan.contours[3][0x30060050] = DataElement(0x30060050, "UN", b"\\" + text)


@trap(29, "FIX", "open-contours", same=True)
def points_and_lines_among_contours(plan):
    build = plan.build
    contours = list(plan.rois()["SpinalCord"])
    point = ("POINT", np.array([[0.0, 0.0, 16.4]]))
    line = ("OPEN_PLANAR", build.circle(6.0, 4.5))
    plan.cord([point, *contours, line])


@trap(29, "WARN", "contour-type-unknown", same=True)
def contours_of_a_vendors_type(plan):
    extra = ("INTERPOLATED", plan.build.circle(4.0, 1.5))
    plan.cord([*plan.rois()["SpinalCord"], extra])


def _rings(plan, *radii, kind="CLOSED_PLANAR", centres=None):
    centres = centres or [(0.0, 0.0)] * len(radii)
    plan.cord(
        [
            (kind, plan.build.circle(r, float(z), n=48, centre=c))
            for z in range(-15, 16, 3)
            for r, c in zip(radii, centres, strict=True)
        ]
    )


@trap(30, "WARN", "overlapping-contours")
def overlapping_contours(plan):
    _rings(plan, 4.0, 4.0, centres=[(0.0, 0.0), (3.0, 0.0)])


@trap(30, "FIX")
def contours_combined_by_exclusive_or(plan):
    _rings(plan, 4.0, 4.0, kind="CLOSEDPLANAR_XOR", centres=[(0.0, 0.0), (3.0, 0.0)])


@trap(30, "WARN", "duplicate-contours", same=True)
def contours_drawn_twice(plan):
    contours = plan.rois()["SpinalCord"]
    plan.cord([*contours, contours[4], contours[5][::-1]])


@trap(31, "FIX")
def keyhole(plan):
    build = plan.build
    contours = []
    for z in range(-15, 16, 3):
        outer, inner = build.circle(4.0, float(z), n=48), build.circle(2.0, float(z), n=48)
        contours.append(np.concatenate([outer, outer[:1], inner[:1], inner[::-1]]))
    plan.cord(contours)


@trap(32, "FIX")
def nested_hole(plan):
    _rings(plan, 4.0, 2.0)


@trap(33, "FIX")
def island_in_a_hole(plan):
    _rings(plan, 4.0, 3.0, 1.5)


@trap(34, "FIX", "degenerate-contours", same=True)
def contours_of_two_points(plan):
    two = np.array([[0.0, 0.0, 16.0], [1.0, 0.0, 16.0]])
    flat = np.array([[0.0, 0.0, -16.0], [1.0, 0.0, -16.0], [2.0, 0.0, -16.0]])
    plan.cord([*plan.rois()["SpinalCord"], two, flat])


@trap(35, "FIX", "sliver-contours")
def sliver(plan):
    small = plan.build.circle(0.06, 0.0, n=8, centre=(5.0, 0.0))
    plan.cord([*plan.rois()["SpinalCord"], small])


@trap(36, "REFUSE", "tangled-contour")
def figure_of_eight(plan):
    contours = list(plan.rois()["SpinalCord"])
    contours[5] = contours[5][np.r_[0:24, 47:23:-1]]
    plan.cord(contours)


@trap(36, "WARN", "self-crossing-contour")
def small_loop(plan):
    contours = [c.copy() for c in plan.rois()["SpinalCord"]]
    contours[5][[10, 16]] = contours[5][[16, 10]]
    plan.cord(contours)


@trap(36, "FIX", same=True)
def reversed_winding(plan):
    plan.cord([c[::-1] for c in plan.rois()["SpinalCord"]])


@trap(37, "FIX", same=True)
def repeated_closing_point(plan):
    plan.cord([np.concatenate([c, c[:1]]) for c in plan.rois()["SpinalCord"]])


@trap(38, "FIX", same=True)
def shuffled_contours(plan):
    contours = plan.rois()["SpinalCord"]
    plan.cord([contours[i] for i in np.random.default_rng(1).permutation(len(contours))])


@trap(39, "FIX", "contour-jitter")
def jitter(plan):
    contours = [
        c + np.array([0, 0, 0.01 * (-1) ** i]) for i, c in enumerate(plan.rois()["SpinalCord"])
    ]
    second = plan.build.circle(1.0, 0.03, n=24, centre=(-6.0, 0.0))
    plan.cord([*contours, second])


@trap(40, "WARN", "contour-gap")
def missing_planes(plan):
    contours = plan.rois()["SpinalCord"]
    plan.cord([*contours[:2], *contours[4:]])


@trap(40, "WARN", "contour-gap", "cord-not-seen")
def missing_planes_at_the_target(plan):
    contours = plan.rois()["SpinalCord"]
    plan.cord([*contours[:4], *contours[7:]])


@trap(41, "FIX")
def uneven_planes(plan):
    levels = (-15, -12, -9, -6, -4, -2, 0, 2, 4, 6, 9, 12, 15)
    plan.cord(plan.build.tube(4.0, z=levels, n=48))


@trap(42, "REFUSE", "structure-unusable")
def single_plane(plan):
    plan.cord([plan.build.circle(4.0, 0.0)])


@trap(42, "FIX")
def single_plane_with_thickness(plan):
    plan.cord([plan.build.circle(4.0, 0.0)])
    plan.contours[0].ContourSlabThickness = "3"


@trap(43, "FIX")
def planes_between_dose_planes(plan):
    plan.cord(plan.build.tube(4.0, z=np.arange(-15, 16, 3) + 1.1, n=48))


@trap(44, "FIX")
def contours_beyond_the_ct(plan):
    for index, z in enumerate(range(-6, 7, 3)):
        plan.others[f"ct{index}"] = plan.build.ct_slice(float(z), number=200 + index)


@trap(45, "REFUSE", "structure-not-found")
def tilted_contours(plan):
    tilt = np.tan(np.deg2rad(5))
    plan.cord([c + c[:, :1] * [0, 0, tilt] for c in plan.rois()["SpinalCord"]])


@trap(46, "REFUSE", "structure-not-found")
def listed_without_contours(plan):
    del plan.rtstruct.ROIContourSequence[0].ContourSequence


@trap(46, "FIX", "structure-empty", same=True)
def another_structure_without_contours(plan):
    plan.rtstruct = plan.build.rtstruct(plan.rois() | {"Heart": []})


@trap(47, "WARN", "duplicate-roi-name", same=True)
def equal_names(plan):
    plan.rtstruct = plan.build.rtstruct(plan.rois() | {"gtv ": plan.build.tube(2.0)})
    plan.rtstruct.StructureSetROISequence[2].ROIName = "GTV"


@trap(47, "REFUSE", "roi-number-shared")
def equal_numbers(plan):
    plan.rtstruct.StructureSetROISequence[1].ROINumber = 1


@trap(47, "WARN", "contours-without-roi", same=True)
def contours_without_a_name(plan):
    plan.rtstruct = plan.build.rtstruct(plan.rois() | {"Heart": plan.build.tube(2.0)})
    del plan.rtstruct.StructureSetROISequence[2]


@trap(48, "FIX", same=True)
def another_name_of_the_cord(plan):
    plan.rtstruct.StructureSetROISequence[0].ROIName = "Medulla Spinalis"


@trap(48, "REFUSE", "structure-not-found")
def a_name_that_is_no_cord(plan):
    plan.rtstruct.StructureSetROISequence[0].ROIName = "optCord avoid"


@trap(48, "WARN", "distance-structure-stand-in", same=True)
def only_a_prv(plan):
    plan.rtstruct.StructureSetROISequence[0].ROIName = "SpinalCord_PRV02"


@trap(49, "WARN", "cord-short")
def short_cord(plan):
    plan.cord(plan.rois()["SpinalCord"][3:8])


@trap(50, "FIX", same=True)
def name_in_a_character_set_that_is_not_stated(plan):
    roi = plan.rtstruct.StructureSetROISequence[0]
    roi[0x30060026] = DataElement(0x30060026, "UN", "Rückenmark".encode("latin-1"))


@trap(50, "FIX", same=True)
def multi_byte_name(plan):
    plan.rtstruct.SpecificCharacterSet = "ISO_IR 192"
    plan.rtstruct.StructureSetROISequence[0].ROIName = "脊髄"


@trap(51, "FIX", same=True)
def two_hundred_structures(plan):
    extra = {f"structure {i}": plan.build.tube(3.0, z=range(-3, 4, 3)) for i in range(200)}
    plan.rtstruct = plan.build.rtstruct(plan.rois() | extra)


@trap(53, "FIX", "sop-class-unsupported", same=True)
def objects_of_other_kinds(plan):
    other = plan.build.common("1.2.840.10008.5.1.4.1.1.66.4", 77)
    other.Modality = "SEG"
    plan.others["seg"] = other


@trap(53, "REFUSE", "rtstruct-missing")
def contours_as_a_segmentation(plan):
    objects_of_other_kinds(plan)
    plan.rtstruct = None


# --- what must hold ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(build, tmp_path_factory):
    result = outcome(Plan(build, tmp_path_factory.mktemp("good") / "plan"))
    assert result.word == "usable", result.codes
    return result


@pytest.mark.parametrize("one", TRAPS, ids=lambda t: t.name)
def test_trap(build, tmp_path, good, one):
    plan = Plan(build, tmp_path / "plan")
    one.spoil(plan)
    found = outcome(plan)
    assert set(one.codes) <= set(found.codes), found.codes
    if one.action == "REFUSE":
        assert found.word == "refused"
    else:
        assert found.word != "refused", found.codes
        assert found.numbers is not None
    if one.action == "WARN" and one.codes:
        assert "warning" in {found.codes[code] for code in one.codes}
    if one.same:
        assert found.numbers == pytest.approx(good.numbers, rel=SAME)


# Volume in cc of a straight cord of eleven planes 3 mm apart, of polygons of 48 corners.
def polygon_area(radius: float) -> float:
    return 24 * radius**2 * np.sin(2 * np.pi / 48)


AREAS = {
    "keyhole": polygon_area(4) - polygon_area(2),
    "nested_hole": polygon_area(4) - polygon_area(2),
    "island_in_a_hole": polygon_area(4) - polygon_area(3) + polygon_area(1.5),
}


@pytest.mark.parametrize("name", AREAS)
def test_holes_have_their_volume(build, tmp_path, name):
    plan = Plan(build, tmp_path / "plan")
    next(t for t in TRAPS if t.spoil.__name__ == name).spoil(plan)
    # Coordinates are written with ten digits.
    assert outcome(plan).numbers[0] == pytest.approx(33 * AREAS[name] / 1000, rel=1e-6)


def test_exclusive_or_counts_what_only_one_contour_has(build, tmp_path):
    """Two circles of radius r at distance d: the area of both less twice that of their lens."""
    r, d = 4.0, 3.0
    lens = 2 * r**2 * np.arccos(d / (2 * r)) - d / 2 * np.sqrt(4 * r**2 - d**2)
    volumes = {}
    for spoil in (contours_combined_by_exclusive_or, overlapping_contours):
        plan = Plan(build, tmp_path / spoil.__name__)
        spoil(plan)
        volumes[spoil.__name__] = outcome(plan).numbers[0] * 1000 / 33
    circle = np.pi * r**2
    # A polygon of 48 corners has 0.29 % less area than its circle.
    assert volumes["contours_combined_by_exclusive_or"] == pytest.approx(
        2 * circle - 2 * lens, rel=4e-3
    )
    assert volumes["overlapping_contours"] == pytest.approx(2 * circle - lens, rel=4e-3)


def test_a_contour_drawn_twice_by_exclusive_or_cancels(build, tmp_path):
    plan = Plan(build, tmp_path / "plan")
    contours = [("CLOSEDPLANAR_XOR", c) for c in plan.rois()["SpinalCord"]]
    plan.cord([*contours, contours[5]])
    found = outcome(plan)
    assert found.codes["duplicate-contours"] == "warning"
    assert found.numbers[0] == pytest.approx(30 * polygon_area(4) / 1000, rel=1e-6)


def test_sum_on_different_grids_is_near_the_sum(build, tmp_path, good):
    """Linear interpolation is off by at most h²/8 times the curvature along each axis.

    h = 2.5 mm along two axes, and half of the blob, curved by at most 15 Gy * 2 / 130 mm².
    """
    plan = Plan(build, tmp_path / "plan")
    beams_on_different_grids(plan)
    bound = 2 * 2.5**2 / 8 * 15 * 2 / 130
    assert outcome(plan).numbers == pytest.approx(good.numbers, abs=bound)


def test_effective_dose_is_named_in_the_case(build, tmp_path):
    plan = Plan(build, tmp_path / "plan")
    effective_dose(plan)
    assert outcome(plan).case.dose_type == "EFFECTIVE"


def test_damage_in_one_structure_leaves_the_others(build, tmp_path):
    plan = Plan(build, tmp_path / "plan")
    wrong_point_count(plan)
    case = read_case(plan.write())
    assert case.structure("SpinalCord").status == "unsupported"
    assert case.structure("GTV").status == "ok"


ELSEWHERE = {
    25: "stored DVHs: tests/check",
    52: "privacy: tests/end_to_end",
    54: "units: tests/dvh",
}


def test_every_trap_is_tried():
    assert {t.number for t in TRAPS} | set(ELSEWHERE) == set(range(1, 55))


def test_the_page_lists_the_same_traps():
    page = (ROOT / "docs" / "traps.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \|$", page, re.M)
    assert [int(number) for number, *_ in rows] == list(range(1, 55))
    for number, _, action, codes in rows:
        mine = [t for t in TRAPS if t.number == int(number)]
        assert {t.action for t in mine} <= set(re.findall(r"[A-Z]{3,}", action)), number
        assert {c for t in mine for c in t.codes} <= set(re.findall(r"`([a-z0-9-]+)`", codes)), (
            number
        )
