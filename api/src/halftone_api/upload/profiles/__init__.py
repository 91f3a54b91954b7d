"""The exports that halftone recognises: one declaration each, by subject.

To add a system, add its Profile to the module of its subject; nothing else changes.
"""

from halftone_api.upload.profiles.catalogues import CATALOGUES
from halftone_api.upload.profiles.marketplaces import MARKETPLACES
from halftone_api.upload.profiles.profile import Profile
from halftone_api.upload.profiles.shops import SHOPS

PROFILES: dict[str, Profile] = {
    profile.name: profile for profile in (*SHOPS, *MARKETPLACES, *CATALOGUES)
}
