"""The policy of the queue: order, limits of users, reservations, backfilling, and which running jobs make room."""

import hypothesis
from hypothesis import strategies as st

from epochd.core.jobs import ALL_GPUS, ONE_IF_ANY
from epochd.dispatch.placement import Place, Round, Running, Skip, Start, Wait, Waiting, next_start, victims

GPUS = 8


def place(free_slots: int = 4, free_gpus: int = 0, gpus: int = GPUS, name: str | None = None) -> Place:
    return Place(name, free_slots, 8, free_gpus, gpus)


def ids(found):
    return found and (found.job.id, found.place.name)


def test_the_first_job_starts_where_a_slot_is_free():
    full, free = place(0, gpus=0, name="full"), place(1, gpus=0, name="free")
    assert ids(next_start([Waiting("a"), Waiting("b")], [full, free])) == ("a", "free")
    assert next_start([Waiting("a")], [full]) is None
    assert next_start([], [free]) is None
    assert next_start([Waiting("a")], []) is None


def test_a_job_whose_user_is_at_the_limit_does_not_hold_up_others():
    jobs = [Waiting("a", owner="ann"), Waiting("b", owner="ann"), Waiting("c", owner="bob"), Waiting("d")]
    limits = {"used": {"ann": 2, "bob": 1}, "user_slots": 2}
    assert ids(next_start(jobs, [place()], **limits)) == ("c", None)
    assert next_start(jobs[:2], [place()], **limits) is None
    assert ids(next_start(jobs, [place()], used={"ann": 2})) == ("a", None)


def test_a_job_without_gpus_passes_one_that_waits_for_gpus():
    assert ids(next_start([Waiting("large", gpus=4), Waiting("small")], [place(1, 2)])) == ("small", None)


def test_a_smaller_job_does_not_take_the_gpus_that_a_larger_one_waits_for():
    jobs = [Waiting("large", gpus=4), Waiting("small", gpus=1)]
    assert next_start(jobs, [place(4, 3)]) is None
    assert ids(next_start(jobs, [place(4, 4)])) == ("large", None)


def test_a_smaller_job_starts_at_a_place_that_is_not_reserved():
    here, there = place(4, 3, name="here"), place(4, 2, name="there")
    jobs = [Waiting("large", gpus=4), Waiting("small", gpus=1)]
    assert ids(next_start(jobs, [here, there])) == ("small", "there")


def test_a_smaller_job_that_ends_before_the_reserved_one_can_start_is_backfilled():
    held = {None: [Running("x", gpus=6, ends_at=100.0)]}
    large, short, long = Waiting("large", gpus=4), Waiting("s", gpus=1, seconds=50), Waiting("l", gpus=1, seconds=51)
    assert ids(next_start([large, long, short], [place(4, 2, 8)], held, now=50.0)) == ("l", None)  # 4 are to spare
    assert ids(next_start([large._replace(gpus=8), long, short], [place(4, 2)], held, now=50.0)) == ("s", None)
    unknown = {None: [Running("x", gpus=3, ends_at=100.0), Running("y", gpus=3)]}
    assert next_start([large, short], [place(4, 2)], unknown, now=50.0) is None
    overdue = {None: [Running("x", gpus=6, ends_at=49.0)]}
    assert next_start([large, short], [place(4, 2)], overdue, now=50.0) is None


def test_a_request_that_depends_on_the_number_of_gpus():
    assert ids(next_start([Waiting("a", gpus=ONE_IF_ANY)], [place(1, 0, gpus=0)])) == ("a", None)
    assert next_start([Waiting("a", gpus=ONE_IF_ANY)], [place(1, 0)]) is None
    assert next_start([Waiting("a", gpus=ALL_GPUS)], [place(1, 7)]) is None
    assert ids(next_start([Waiting("a", gpus=ALL_GPUS)], [place(1, 8)])) == ("a", None)


def test_what_no_place_has_is_not_waited_for():
    assert ids(next_start([Waiting("a", gpus=9)], [place(1, 0)])) == ("a", None)


def test_a_large_job_finds_the_place_that_small_ones_leave_free():
    places = [place(4, 8, name="empty"), place(4, 2, name="used"), place(4, 0, gpus=0, name="without")]
    assert ids(next_start([Waiting("a", gpus=1)], places)) == ("a", "used")
    assert ids(next_start([Waiting("a")], places)) == ("a", "without")


def test_the_reservation_is_where_room_is_expected_first_and_stays_there():
    early, late = place(4, 0, name="early"), place(4, 2, name="late")
    held = {"early": [Running("a", gpus=8, ends_at=10.0)], "late": [Running("b", gpus=6, ends_at=20.0)]}
    large = Waiting("large", gpus=4)

    def reserved(running, *before):
        round = Round([late, early], running, reserved=dict(before), now=1.0)
        assert round.choose([large]) is None
        return round.reservation.place.name

    assert reserved(held) == "early"
    assert reserved({}) == "late"
    assert reserved(held, ("large", "late")) == "late"
    assert reserved(held, ("another", "late")) == "early"
    held["late"][0] = held["late"][0]._replace(is_ending=True)
    assert reserved(held, ("large", "early")) == "late"


def test_among_many_places_the_first_jobs_that_wait_have_one_each():
    places = [place(4, 0, name=f"{n}") for n in range(7)] + [place(4, 3, name="7")]
    round = Round(places)
    large = [Waiting(f"large {n}", gpus=8) for n in range(3)]
    assert round.choose(large) is None
    assert round.reserved == {"large 0": "7", "large 1": "0"}
    assert round.choose([Waiting("small", gpus=1)]) is None
    assert Round(places, reserved=round.reserved).reserved == round.reserved
    places[1] = place(4, 1, name="1")
    assert ids(next_start([*large, Waiting("small", gpus=1)], places, reserved=round.reserved)) == ("small", "1")


def test_a_round_tells_which_jobs_the_next_page_need_not_have():
    round = Round([place(4, 3)], used={"ann": 1}, user_slots=1)
    assert round.skip == Skip(frozenset({"ann"}), None)
    assert round.choose([Waiting("large", gpus=4)]) is None
    assert round.skip.gpus == 4
    assert round.choose([Waiting("small", gpus=2)]) is None
    assert round.skip.gpus == 2


def test_why_a_job_waits():
    jobs = {"ann": Waiting("a", owner="ann"), "large": Waiting("l", gpus=4), "small": Waiting("s", gpus=2)}
    round = Round([place(4, 3)], used={"ann": 1}, user_slots=1)
    for job in jobs.values():
        round.choose([job])
    assert {name: round.why(job) for name, job in jobs.items()} == {
        "ann": Wait.USER,
        "large": Wait.GPUS,
        "small": Wait.RESERVATION,
    }
    assert round.why(Waiting("on the CPU")) is None
    full = Round([place(0, 8)])
    assert full.choose([jobs["large"]]) is None
    assert full.why(jobs["large"]) is Wait.SLOT


def made_room(job: Waiting, where: Place, *running: Running):
    round = Round([where], {None: running})
    assert round.choose([job]) is None
    found = victims(round, [where], {None: running})
    return found and [one.id for one in found[1]]


def test_the_fewest_of_the_lowest_priority_make_room_the_most_recently_started_first():
    running = [
        Running("high", priority=3, gpus=4),
        Running("old", priority=-1, gpus=1, started_at=1.0),
        Running("new", priority=-1, gpus=1, started_at=2.0),
        Running("two", priority=0, gpus=2),
    ]
    assert made_room(Waiting("j", 1, gpus=1), place(1, 0), *running) == ["new"]
    assert made_room(Waiting("j", 1, gpus=2), place(1, 0), *running) == ["two"]
    assert made_room(Waiting("j", 1, gpus=3), place(1, 0), *running) == ["new", "two"]
    assert made_room(Waiting("j", 1, gpus=4), place(1, 0), *running) == ["new", "old", "two"]
    assert made_room(Waiting("j", 1, gpus=5), place(1, 0), *running) is None
    assert made_room(Waiting("j", 1), place(0, 0), *running) == ["new"]
    assert made_room(Waiting("j", -1), place(0, 0), *running) is None


def test_no_more_jobs_make_room_while_enough_are_ending():
    ending, other = Running("e", priority=-1, gpus=2, is_ending=True), Running("o", priority=-1, gpus=2)
    assert made_room(Waiting("j", 1, gpus=2), place(1, 0), ending, other) is None
    assert made_room(Waiting("j", 1, gpus=4), place(1, 0), ending, other) == ["o"]


SIZES = st.sampled_from([0, 0, 1, 1, 2, 4, ONE_IF_ANY])


SHAPES = st.tuples(SIZES, st.integers(-2, 2), st.sampled_from([None, "ann", "bob"]), st.integers(1, 9))


@hypothesis.given(
    st.lists(SHAPES, max_size=40),
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([0, 2, 4])), min_size=1, max_size=3),
    st.booleans(),
)
def test_every_job_starts_no_limit_is_exceeded_and_no_place_is_over_committed(shapes, machines, is_known):
    cluster = Cluster(machines, is_known)
    for number, (gpus, priority, owner, seconds) in enumerate(shapes):
        cluster.submit(Waiting(f"{number:02}", priority, owner, gpus), seconds)
    cluster.run(until=10_000)
    most = max(gpus for _, gpus in machines)
    assert len(cluster.started) == sum(gpus <= most for gpus, *_ in shapes), "others wait for another machine"


@hypothesis.given(st.integers(2, 4), st.integers(1, 3), st.integers(1, 5), st.booleans())
def test_no_job_waits_forever_behind_smaller_ones(large, small, seconds, is_known):
    """Small jobs arrive in every second, more than there is room for; the large one starts once those are over that run
    when it comes first."""
    cluster = Cluster([(8, 4)], is_known)
    for number in range(200):
        cluster.submit(Waiting(f"small {number:03}", gpus=min(small, large - 1)), seconds)
        if number == 3:
            cluster.submit(Waiting("small 003, large", gpus=large), 1)
        cluster.run(until=cluster.now + 1)
        if "small 003, large" in cluster.started:
            break
    ahead = [at for name, at in cluster.started.items() if name <= "small 003"]
    assert len(ahead) == 4
    assert cluster.started["small 003, large"] <= max(ahead) + seconds


class Cluster:
    """Machines in simulated time, which check that nothing is over-committed; jobs take as long as they are expected to
    where that ``is_known``."""

    def __init__(self, machines, is_known):
        self.machines = {f"m{n}": shape for n, shape in enumerate(machines)}
        self.is_known = is_known
        self.waiting, self.running, self.started, self.reserved = [], [], {}, {}
        self.now = 0

    def submit(self, job, seconds):
        known = job._replace(seconds=float(seconds) if self.is_known else None)
        self.waiting.append((-job.priority, job.id, known, seconds))
        self.waiting.sort(key=lambda entry: entry[:2])

    def places(self):
        for name, (slots, gpus) in self.machines.items():
            here = [needed for _, at, _, needed, _ in self.running if at == name]
            found = Place(name, slots - len(here), slots, gpus - sum(here), gpus)
            assert found.free_slots >= 0
            assert found.free_gpus >= 0
            yield found

    def held(self):
        found = {name: [] for name in self.machines}
        for end, at, job, needed, _ in self.running:
            found[at].append(Running(job.id, gpus=needed, ends_at=float(end) if self.is_known else None))
        return found

    def run(self, until):
        while self.now < until and (self.waiting or self.running):
            self.start_all()
            self.now += 1
            self.running = [entry for entry in self.running if entry[0] > self.now]

    def start_all(self):
        while True:
            used = {name: sum(owner == name for *_, owner in self.running) for name in ("ann", "bob")}
            assert max(used.values()) <= 2
            places = list(self.places())
            jobs = [entry[2] for entry in self.waiting]
            limits = {"used": used, "user_slots": 2, "reserved": self.reserved}
            round = Round(places, self.held(), **limits, now=float(self.now))
            start = round.choose(jobs)
            self.reserved = round.reserved
            if start is None:
                return
            [entry] = [entry for entry in self.waiting if entry[2] is start.job]
            self.waiting.remove(entry)
            needed = round.needed(start.job)
            assert needed <= start.place.free_gpus
            assert len({start.place.name, *(place.name for place in start.others)}) == start.job.nodes
            for place in (start.place, *start.others):
                self.running.append((self.now + entry[3], place.name, start.job, needed, start.job.owner))
            self.started[start.job.id] = self.now


def test_a_job_goes_where_its_engine_is_installed_and_does_not_hold_up_others():
    plain, other = Place("a", 1, 1, engines=frozenset({"pytorch"})), Place("b", 0, 1, engines=frozenset({"jax"}))
    jobs = [Waiting("first", engine="jax"), Waiting("second", engine="pytorch")]
    round = Round([plain, other])
    assert round.choose(jobs) == Start(jobs[1], plain)
    assert round.why(jobs[0]) is Wait.SLOT
    assert next_start(jobs, [plain, other._replace(free_slots=1)]) == Start(jobs[0], other._replace(free_slots=1))


def test_what_no_agent_has_is_waited_for_and_what_a_single_server_lacks_is_not():
    agents = [Place(None, engines=frozenset()), Place("a", 1, 1, engines=frozenset({"pytorch"}))]
    for job, why in ((Waiting("x", gpus=2), Wait.GPUS), (Waiting("y", engine="jax"), Wait.ENGINE)):
        round = Round(agents)
        assert round.choose([job]) is None
        assert round.why(job) is why
        assert next_start([job], [Place(None, 1, 1, engines=frozenset({"pytorch"}))]) is not None


def test_of_equal_places_one_that_has_the_engine_in_memory_is_chosen():
    cold, warm = Place("a", 2, 2), Place("b", 1, 2, warm=frozenset({"jax"}))
    assert next_start([Waiting("x", engine="jax")], [cold, warm]) == Start(Waiting("x", engine="jax"), warm)


def agents(*free_slots, gpus=0, free_gpus=0):
    return [Place(f"{n}", free, 2, free_gpus, gpus) for n, free in enumerate(free_slots)]


def names(start):
    return start and (start.job.id, sorted(place.name for place in (start.place, *start.others)))


def test_a_job_on_several_machines_starts_on_all_at_once_or_not_at_all():
    job = Waiting("wide", nodes=2)
    assert names(next_start([job], agents(1, 0, 2))) == ("wide", ["0", "2"])
    assert next_start([job], agents(9, 0, 0)) is None, "never two parts of it at one place"
    assert next_start([job], [Place(None, 9, 9), *agents(1)]) is None, "the server's own machine takes no part"
    round = Round([Place(None, 9, 9), *agents(1, 0)])
    assert round.choose([job]) is None
    assert round.why(job) is Wait.NODES
    assert round.machines(job) == (1, 2)


def test_each_of_several_machines_needs_the_gpus():
    job, places = Waiting("wide", gpus=2, nodes=2), agents(1, 1, gpus=4, free_gpus=2)
    assert names(next_start([job], places)) == ("wide", ["0", "1"])
    assert next_start([job], [places[0], places[1]._replace(free_gpus=1)]) is None
    without = Place("cpu", 1, 1, engines=frozenset({"jax"}))
    assert next_start([Waiting("wide", nodes=2, engine="pytorch")], [without, places[0]]) is None


def test_a_job_on_several_machines_keeps_a_slot_at_each_until_it_starts():
    """Behind it nothing takes the slots that it waits for; what is free besides is used."""
    wide, small = Waiting("wide", nodes=2), Waiting("small")
    assert next_start([wide, small], agents(1, 0)) is None
    assert names(next_start([wide, small], agents(2, 0))) == ("small", ["0"])
    assert names(next_start([wide, small], agents(1, 1, 0))) == ("wide", ["0", "1"])
    assert names(next_start([wide, small], agents(1))) == ("small", ["0"]), "there will never be two machines"
    round = Round(agents(1, 0))
    assert round.choose([wide, small]) is None
    assert round.why(small) is Wait.RESERVATION
    owned = agents(1, 1, gpus=2, free_gpus=1)
    assert next_start([Waiting("wide", gpus=2, nodes=2), Waiting("small", gpus=1)], owned) is None


def test_a_job_on_several_machines_does_not_wait_for_an_agent_that_is_lost_or_drains():
    wide, small = Waiting("wide", priority=5, nodes=2), Waiting("small")
    places = [*agents(1), Place("lost", 0, 0, 0, 4)]
    assert names(next_start([wide, small], places)) == ("small", ["0"])
    round = Round(places)
    assert round.choose([wide]) is None
    assert round.machines(wide) == (1, 1)
    places[0] = places[0]._replace(free_slots=0)
    running = {name: [Running(name)] for name in ("0", "lost")}
    round = Round(places, running)
    assert round.choose([wide]) is None
    assert victims(round, places, running) is None


def test_a_job_on_several_machines_leaves_to_others_the_gpus_that_it_does_not_need():
    """Even if nobody knows when it can start, as where it waits for slots."""
    wide, small = Waiting("wide", nodes=2), Waiting("small", gpus=1)
    places = [Place("0", 2, 2, 2, 2), Place("1", 0, 2, 2, 2)]
    assert names(next_start([wide, small], places)) == ("small", ["0"])
    assert next_start([wide, small], [places[0]._replace(free_slots=1), places[1]]) is None, "it keeps a slot"
    assert next_start([wide._replace(gpus=2), small], places) is None
    assert names(next_start([wide._replace(gpus=1), small], places)) == ("small", ["0"])
    assert next_start([wide._replace(gpus=1), small._replace(gpus=2)], places) is None


def test_a_job_on_several_machines_is_backfilled_until_it_can_start():
    held = {"1": [Running("x", gpus=2, ends_at=100.0)]}
    places = [Place("0", 2, 2, 2, 2), Place("1", 1, 2, 0, 2)]
    wide, short = Waiting("wide", gpus=2, nodes=2), Waiting("short", gpus=1, seconds=50)
    assert names(next_start([wide, short], places, held, now=50.0)) == ("short", ["0"])
    assert next_start([wide, short._replace(seconds=51)], places, held, now=50.0) is None


@hypothesis.given(st.lists(st.integers(1, 6), min_size=5, max_size=30), st.integers(2, 3))
def test_a_job_on_several_machines_is_not_starved_by_small_ones(seconds, nodes):
    """Small jobs come at every moment and would take each slot; it starts once those have ended that ran before."""
    cluster = Cluster([(1, 0)] * 3, is_known=False)
    for number in range(3):
        cluster.submit(Waiting(f"0 {number}"), seconds[number])
    cluster.run(1)
    cluster.submit(Waiting("1 wide", nodes=nodes), 1)
    for number, one in enumerate(seconds[3:]):
        cluster.submit(Waiting(f"2 {number:02}"), one)
    cluster.run(200)
    assert cluster.started["1 wide"] <= max(seconds[:3])


def test_running_jobs_make_room_for_one_on_several_machines_at_as_many_as_it_needs():
    running = {f"{n}": [Running(f"low {n}", priority=-n, started_at=n)] for n in range(3)}
    places = [place._replace(slots=1) for place in agents(0, 0, 0)]
    wide = Waiting("wide", priority=5, nodes=2)
    round = Round(places, running)
    assert round.choose([wide]) is None
    job, chosen = victims(round, places, running)
    assert (job, {one.id for one in chosen}) == (wide, {"low 1", "low 2"})
    running["2"] = [running["2"][0]._replace(is_ending=True)]
    assert [one.id for one in victims(round, places, running)[1]] == ["low 1"]
    assert victims(round, places[:1], running) is None
