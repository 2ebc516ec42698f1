"""A journal whose run ends after four points."""

from connectivity_hooks.evaluation.journal import Journal


class Killed(BaseException):
    """Stands for SIGKILL after some points."""


class Dying(Journal):
    def add(self, measurements):
        super().add(measurements)
        if len(self) == 4:
            raise Killed
