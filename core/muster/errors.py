"""Every exception class of muster."""

from __future__ import annotations


class MusterError(Exception):
    """A fault that muster knows; its message says what, where and how to mend it."""

    exit_code = 1


class UserError(MusterError):
    """The user's input is at fault."""

    exit_code = 2


class DamagedCheckpoint(UserError):
    """A checkpoint is torn, of another trial or of another format: the one before it will do."""


class AccessDenied(MusterError):
    """The database does not let this account in, or not any more."""

    exit_code = 2


class NotAllowed(AccessDenied):
    """The database lets this account in, but not do that, or not any more."""


class MembershipEnded(MusterError):
    """A worker's account was let in and is no longer: trying again is of no use."""

    exit_code = 4


class Unavailable(MusterError):
    """The database or the network is away; the same call may succeed later."""

    exit_code = 3


class DiskFull(Unavailable):
    """A disk is full: waiting does not help, somebody has to make room."""


class LeaseLost(MusterError):
    """The attempt's lease belongs to somebody else by now: drop the attempt quietly."""


class NonFiniteLoss(MusterError):
    """Training diverged: the loss is NaN or infinite. The trial is pruned with this reason."""


class Interrupted(MusterError):
    """Training was told to stop within an epoch: checkpoint() is the last finished epoch's."""
