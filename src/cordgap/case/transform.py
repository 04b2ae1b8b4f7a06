"""Rigid change of coordinates between two frames of reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cordgap.errors import GeometryMismatchError

# Largest departure of the rotation from orthonormal: what is left moves a point half a metre from
# the origin by 0.05 mm. DICOM writes 16 characters a number, which is far finer.
RIGID_TOLERANCE = 1e-4


@dataclass(frozen=True, eq=False)
class RigidTransform:
    """A rotation and a shift from one frame of reference to another.

    Parameters
    ----------
    from_frame_uid, to_frame_uid : str
        FrameOfReferenceUID of the coordinates that go in and that come out.
    matrix : array of shape (4, 4)
        Homogeneous, in mm: ``p_to = (matrix @ (p_from, 1))[:3]``.

    Raises
    ------
    GeometryMismatchError
        With the code ``registration-not-rigid`` when the matrix scales, shears or mirrors, and
        ``registration-damaged`` when it is no homogeneous matrix of finite numbers.

    Examples
    --------
    >>> shift = RigidTransform("1.2", "1.3", [[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0],
    ...                                       [0, 0, 0, 1]])
    >>> shift.apply([[0.0, 1.0, 2.0]]).tolist()
    [[5.0, 1.0, 2.0]]
    >>> shift.between("1.3", "1.2").apply([[5.0, 1.0, 2.0]]).tolist()
    [[0.0, 1.0, 2.0]]
    """

    from_frame_uid: str
    to_frame_uid: str
    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.array(self.matrix, dtype=np.float64)
        if (
            matrix.shape != (4, 4)
            or not np.isfinite(matrix).all()
            or np.abs(matrix[3] - (0.0, 0.0, 0.0, 1.0)).max() > RIGID_TOLERANCE
        ):
            raise GeometryMismatchError(
                "the registration has no homogeneous 4x4 matrix of finite numbers that ends with "
                "the row 0 0 0 1; export the registration again",
                code="registration-damaged",
            )
        rotation = matrix[:3, :3]
        off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if off > RIGID_TOLERANCE or np.linalg.det(rotation) < 0:
            what = "mirrors" if off <= RIGID_TOLERANCE else "scales or shears"
            raise GeometryMismatchError(
                f"the registration is not rigid: its matrix {what} (departs from a rotation by "
                f"{off:.2g}, at most {RIGID_TOLERANCE:g} is accepted); export a rigid registration",
                code="registration-not-rigid",
                found=f"a matrix that {what}",
                expected="a rotation and a shift",
                action="export a rigid registration",
            )
        matrix[3] = (0.0, 0.0, 0.0, 1.0)
        matrix.flags.writeable = False
        object.__setattr__(self, "matrix", matrix)

    def apply(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Move points of shape (n, 3), order x, y, z, in mm."""
        points = np.asarray(points_mm, dtype=np.float64)
        moved: NDArray[np.float64] = points @ self.matrix[:3, :3].T + self.matrix[:3, 3]
        return moved

    def inverse(self) -> RigidTransform:
        """Return the way back."""
        back = np.asarray(np.linalg.inv(self.matrix), dtype=np.float64)
        return RigidTransform(self.to_frame_uid, self.from_frame_uid, back)

    def between(self, from_frame_uid: str, to_frame_uid: str) -> RigidTransform:
        """Return the transform between two frames of reference, in the direction that is asked for.

        Raises
        ------
        GeometryMismatchError
            With the code ``registration-other-frames`` when it links other frames than these.
        """
        if (from_frame_uid, to_frame_uid) == (self.from_frame_uid, self.to_frame_uid):
            return self
        if (to_frame_uid, from_frame_uid) == (self.from_frame_uid, self.to_frame_uid):
            return self.inverse()
        found = f"...{self.from_frame_uid[-12:]} and ...{self.to_frame_uid[-12:]}"
        wanted = f"...{from_frame_uid[-12:]} and ...{to_frame_uid[-12:]}"
        raise GeometryMismatchError(
            f"the registration links other frames of reference than these (found {found}, "
            f"expected {wanted}); give the registration between the two images",
            code="registration-other-frames",
            found=found,
            expected=wanted,
            action="give the registration between the two images",
        )

    @property
    def shift_mm(self) -> float:
        """Length of the shift of the origin, in mm."""
        return float(np.linalg.norm(self.matrix[:3, 3]))

    @property
    def angle_deg(self) -> float:
        """Angle of the rotation, in degrees."""
        cosine = (float(np.trace(self.matrix[:3, :3])) - 1.0) / 2.0
        return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))
