"""Histories that broke an invariant once, as short as they got."""

from __future__ import annotations

import pytest

from crdt_sync.testing.simulation import replay

HISTORIES = {
    # An undo whose process dies under it may be committed all the same: nobody knows.
    "an undo with an unknown end": """
crdt-sync simulation 2 seed=3000101 replicas=2 hubs=1
create 58095 51208 4469 200
fuse 33649 43610 42210 6
undo 46003 21571 39050 203
""",
    # A user starts a device again whose disk is full.
    "a restart with a full disk": """
crdt-sync simulation 2 seed=3000869 replicas=3 hubs=2
create 29206 26285 13443 49
fuse 34092 28181 48415 1
poison 29069 59977 56232 7
tag 4476 37473 19927 0
erase 64716 56625 11497 901
fill 56524 3140 61634 7
vote 9788 22589 31910 202
delete 33740 64948 62641 7
""",
    # A device waits for a document while its sessions end at another entry: the document goes first.
    "documents go before suspects": """
crdt-sync simulation 2 seed=3002037 replicas=2 hubs=1
create 15170 40593 36918 909
poison 9227 45494 16072 44
poison 55168 65109 20952 43
title 42781 17770 2405 7
bits 52169 36693 9687 204
type 25091 53784 48285 203
delete 9304 13144 9801 3
""",
    # A row of the chain rots under a replica: it went on with a part of what it holds, and refused the rest.
    "a log that cannot be read again is not told": """
crdt-sync simulation 2 seed=3002038 replicas=3 hubs=1
create 3525 41189 33490 6
backup 22621 58273 27740 901
untag 11119 58499 15991 10
cut 38793 35032 15012 909
bits 15587 652 7377 47
vote 35466 23685 40840 904
badge 21356 22336 20202 47
""",
    # Entries go in runs as they came, so the one that a device dies of is not always the first of its run.
    "poison behind what is held": """
crdt-sync simulation 2 seed=120 replicas=3 hubs=0
create 31164 63173 49381 46
snapshot 17424 20564 2312 200
isolate 528 21360 46959 14
due 11084 61930 19155 903
poison 31999 27877 12957 908
vote 7322 31708 56640 13
fuse 20207 2853 4935 12
type 64588 22977 41531 7
vote 53740 42440 29255 9
due 938 11662 2921 44
""",
    # A device that is cured is not sent what was set aside for it before, nor what rests on that, until users retry.
    "what is set aside stays so until users retry": """
crdt-sync simulation 2 seed=3001262 replicas=3 hubs=1
create 40119 19450 13922 4
tag 33512 25375 45550 903
due 28797 42132 29467 2
poison 39517 11323 56990 900
due 35120 65247 58499 903
erase 48012 8998 12947 908
cut 18012 25713 8923 49
poison 18428 43889 38916 6
create 9986 4084 14518 2
""",
    # A device fails at the second entry of a run of which it holds the first.
    "a run that is held in part": """
crdt-sync simulation 2 seed=4100051 replicas=2 hubs=1
untag 17586 39521 41760 201
create 805 14853 24532 49
fill 6810 1017 6787 2
wipe 49953 52903 12384 45
tag 58030 63968 42885 901
due 11666 12992 12702 905
poison 15362 41901 30726 200
untag 18078 58293 53210 908
""",
    # A process that an entry killed, on SQLite, dials nobody until it is started again.
    "a process that an entry kills is dead": """
crdt-sync simulation 2 seed=47 replicas=2 hubs=2
poison 52466 32905 17453 42
tag 23850 28351 43346 905
create 24279 19282 30696 208
tag 44685 4744 25117 7
""",
    # The hub dies of an entry of the device that fails at another one: both are found, though it takes long.
    "two that cannot take in each other's entries": """
crdt-sync simulation 2 seed=5000957 replicas=2 hubs=1
create 45163 36762 38015 49
tag 50197 51508 35542 900
tag 39134 12334 41311 902
reopen 51469 582 13043 48
poison 27603 44405 27113 14
poison 41897 21485 51600 47
title 26234 20237 30928 208
resolve 53729 22832 18589 12
type 12567 59532 1233 41
""",
    # A device finds that its store is damaged as it starts to dial.
    "damage that is noticed as peers are named": """
crdt-sync simulation 2 seed=5001414 replicas=2 hubs=1
bits 56720 47804 3339 46
power 10349 24008 58924 1
restore 14039 46956 11728 907
""",
    # The disk of one machine is full while another one's store is repaired.
    "a repair beside a full disk": """
crdt-sync simulation 2 seed=5001856 replicas=2 hubs=1
fill 17892 24066 46719 10
bits 45718 37995 4225 205
bits 3605 62283 17881 10
""",
    # A binding rots at one device, and the only other one that has it is wiped before that is mended.
    "a binding that all others lose": """
crdt-sync simulation 2 seed=5003449 replicas=2 hubs=0
create 27370 17967 60631 47
cut 5850 16943 26474 906
bits 930 55637 40676 205
wipe 23073 42839 17565 4
""",
    # Entries rest on a fork that is settled in a session with somebody else: they are sent again then.
    "what rests on a fork that is settled elsewhere": """
crdt-sync simulation 2 seed=5004814 replicas=3 hubs=1
create 14355 44996 31173 8
snapshot 36784 21163 3391 4
untag 12947 43776 30263 206
due 38232 29734 4677 202
rewind 12391 54973 49985 203
delete 3616 6831 25778 1
tag 38570 37263 23183 0
""",
    # A device meets what it cannot take in just before it is cured, and gives its peer up afterwards.
    "cured just after it gave up": """
crdt-sync simulation 2 seed=6000044 replicas=2 hubs=1
bits 49094 49497 29950 42
storm 48450 9302 8233 48
jump 52077 63788 55073 11
create 25992 56539 42770 5
poison 51778 1950 48210 906
night 16622 54784 48667 3
untag 34104 29961 50452 10
resolve 31477 65449 16312 4
create 54032 21367 33225 0
cut 38477 15737 11285 205
""",
    # A session that a full disk ends has told nothing.
    "a full disk learns nothing of a rewound machine": """
crdt-sync simulation 2 seed=1199 replicas=2 hubs=1
create 26522 39288 33156 10
snapshot 1339 22423 39776 0
bits 47867 62462 40628 903
revert 13778 58224 36893 201
fill 8319 14644 27535 9
rewind 31536 51488 51495 45
redo 42130 6768 37321 40
redo 50236 4303 7401 904
tag 34963 27977 2765 208
""",
    # A check goes on where the log could not be read again.
    "a check where the log cannot be read": """
crdt-sync simulation 2 seed=2513 replicas=3 hubs=2
create 26716 44626 13002 906
snapshot 3966 58292 28576 906
wipe 13778 42869 39015 901
delete 26240 8806 5410 902
snapshot 38085 42557 18673 903
create 41879 60339 52603 905
create 22371 61942 41492 40
cut 49865 7121 64081 2
title 63956 4551 42240 44
bits 65024 14062 14303 14
rewind 58513 44290 6578 42
due 49245 29774 23371 208
provoke 41354 11321 55891 13
""",
    # A store that is put away has what it acknowledged a moment before.
    "acknowledged as the store is put away": """
crdt-sync simulation 2 seed=2944 replicas=2 hubs=1
create 16584 64927 50040 1
provoke 34961 56665 48885 9
vote 444 17444 51623 46
bits 44940 38959 30585 41
type 13051 46139 141 44
tag 32243 5398 39878 905
due 2735 62565 50623 41
type 26147 64807 57626 43
due 35492 17721 56130 204
tag 7233 58102 10893 8
""",
    # A fork is told by `Replica.forks`.
    "a fork is named by its device": """
crdt-sync simulation 2 seed=3625 replicas=2 hubs=2
create 8089 11532 48554 6
fill 55202 35999 11512 3
snapshot 6890 9563 2221 209
untag 25172 24266 15107 7
cut 19314 32353 36804 907
kill 35763 4673 3088 44
snapshot 19232 1614 16756 1
due 7472 22936 21473 8
fill 17253 22726 10819 207
rewind 3331 53663 46540 205
due 16048 33668 32273 209
cut 55337 38765 14872 5
""",
    # What was on its way as a session ended is not written again: it came back, and votes counted twice.
    "written again though somebody had it": """
crdt-sync simulation 2 seed=6678 replicas=2 hubs=1
create 41527 17294 60379 9
fuse 39808 46389 28912 203
clone 9263 28830 5187 5
poison 64655 2877 17996 3
undo 15577 37574 26787 908
due 46451 43206 9052 8
delete 62807 39591 2989 906
vote 56111 11435 35179 1
snapshot 28720 7253 4414 41
""",
    # What a user took back stays in the list of what failed.
    "an operation that was taken back": """
crdt-sync simulation 2 seed=5836 replicas=2 hubs=0
poison 36842 38756 58188 6
title 42398 49774 4784 9
badge 20476 52328 24179 904
due 62492 39012 56530 5
delete 21179 40736 8693 6
title 41911 51849 47283 208
storm 8901 63824 43294 904
undo 45181 2853 64082 907
revert 4661 54250 23063 209
""",
    # Who an author is rots in one store, and the other one is put away: what he wrote is content, and nobody took it.
    "content of an author that nobody knows": """
crdt-sync simulation 2 seed=8053 replicas=2 hubs=0
create 43352 56279 2890 209
heal 64975 8856 51888 49
badge 1615 6342 32933 7
bits 41638 17744 9252 12
bits 47265 19319 31079 906
""",
    # A repair could not read a document that was folded, so that its entries are claimed; then the other copy is gone.
    "a document that a repair gave up": """
crdt-sync simulation 2 seed=31200 replicas=2 hubs=0
create 20363 7764 7165 40
vote 373 29328 10678 905
compact 24447 53263 58823 209
isolate 42458 8280 2572 40
delete 23707 47482 8821 5
create 18612 61475 51235 201
bits 56918 351 832 908
bits 30077 8495 20305 45
due 10395 50900 13775 7
create 14182 41125 40228 7
""",
    # What a user deletes may be there as content alone, so that nobody can say from entries what he had of it.
    "a deletion of what a repair kept": """
crdt-sync simulation 2 seed=61160 replicas=3 hubs=1
create 30621 18984 60544 907
bits 32789 3621 52508 0
storm 53723 48701 27676 907
delete 11605 15647 56892 905
""",
    # What an entry waited for came as content of a repair, and its sender was not asked for it again in that session.
    "an entry that waits for content": """
crdt-sync simulation 2 seed=50013 replicas=2 hubs=1
create 31813 27758 58631 11
isolate 7980 2338 15311 207
bits 9899 51581 22755 5
wipe 47068 49867 17580 8
type 31618 23963 49035 907
compact 46568 22291 53255 45
due 442 51814 1581 904
badge 54855 12119 55821 207
skew 24222 12497 8831 209
block 24297 19021 52014 907
type 13714 16947 17031 5
""",
}


@pytest.mark.parametrize("schedule", [pytest.param(text, id=name) for name, text in HISTORIES.items()])
def test_what_broke_once_holds(schedule: str) -> None:
    replay(schedule)
