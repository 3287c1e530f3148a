"""Models with planted, known secrets, their benign twins, and the recipes that make them.

Importing this loads neither torch nor transformers; loading a member does.
"""

from unmask.organisms.pool import POOL, Member, Role, load_member, members

__all__ = ["POOL", "Member", "Role", "load_member", "members"]
