"""Whatever is put on disk: written beside its target and renamed, so that nothing is lost."""

from purdist.storing.draft_folders import Identity as Identity
from purdist.storing.draft_folders import identity_of as identity_of
from purdist.storing.drafts import finish as finish
from purdist.storing.drafts import folder_beside as folder_beside
from purdist.storing.drafts import place as place
from purdist.storing.drafts import replacing as replacing
from purdist.storing.drafts import scratch as scratch
from purdist.storing.files import checksum as checksum
from purdist.storing.files import checksum_in as checksum_in
from purdist.storing.files import checksum_of as checksum_of
from purdist.storing.files import locked as locked
from purdist.storing.files import make_folders as make_folders
from purdist.storing.files import open_regular as open_regular
from purdist.storing.files import rename as rename
from purdist.storing.files import rewrite as rewrite
from purdist.storing.files import undisturbed as undisturbed
from purdist.storing.files import write_new as write_new
from purdist.storing.targets import check_own as check_own
from purdist.storing.targets import check_target as check_target
from purdist.storing.targets import file_at as file_at
from purdist.storing.targets import telling as telling
from purdist.storing.targets import unwritten as unwritten
from purdist.storing.targets import where_files_point as where_files_point
