"""The radio of a whole batch of convoys: transmit first, then deliver what has arrived by now."""

from collections.abc import Mapping, Sequence

import numpy as np

from ml.arrays import Bools, Floats, Ints, Words, allocate, shapes
from ml.errors import EmulatorError
from ml.espnow_emulator.air import AirFrames
from ml.espnow_emulator.clock import NodeClocks
from ml.espnow_emulator.counters import NUM_COUNTS, CounterArrays
from ml.espnow_emulator.distance_links import DistanceLinks
from ml.espnow_emulator.events import AirLog, FlightArrays, World, run_events
from ml.espnow_emulator.loss_model import Episodes, Movement, padded
from ml.espnow_emulator.mac import QUEUE_CAPACITY, MacArrays
from ml.espnow_emulator.margin_links import MarginLinks
from ml.espnow_emulator.message_store import (
    DEPTH,
    LONG_AGO_US,
    MAX_NODES,
    Frames,
    StoreArrays,
    accept_frames,
    are_fine,
)
from ml.espnow_emulator.messages import PayloadField
from ml.espnow_emulator.parameters.loss import MarginLoss
from ml.espnow_emulator.parameters.radio import RadioParameters
from ml.espnow_emulator.peer_table import PeerTable
from ml.espnow_emulator.relays import RelayArrays, all_work
from ml.espnow_emulator.wire import GeoReference, quantise
from ml.keyed_random import fold
from ml.section import EpisodeNumbers


class BroadcastChannel:
    """One medium per convoy, shared by all its nodes, each of which sends, hears and relays.

    Each tick: `transmit` all frames, then `deliver`. All draws are keyed by the convoy's episode,
    the nodes' keys, and the frame's source and number, or the time: so neither the batch nor the
    order of nodes changes a draw, and removing a node changes nothing but what it sent, relayed or
    stood in the way of.

    Args:
        parameters: Of the radio.
        num_envs: E.
        num_nodes: N, at most 32; node 0 is the ego (the last car), node k the car of rank k.
        receivers: Nodes whose knowledge is recorded in the table.

    Attributes:
        num_nodes: N.
        table: What the recorded receivers know; `deliver` returns it. Source s is node s + 1.
        node_clocks: (E, N).

    Raises:
        EmulatorError: More nodes than the radio can hold, or a receiver that is none of them.
    """

    def __init__(
        self,
        parameters: RadioParameters,
        *,
        num_envs: int,
        num_nodes: int,
        receivers: Sequence[int] = (0,),
    ) -> None:
        recorded = np.array(receivers, dtype=np.int64)
        if not 1 <= num_nodes <= MAX_NODES:
            raise EmulatorError(
                f"num_nodes is {num_nodes}, allowed are 1 to {MAX_NODES}: have fewer vehicles."
            )
        if not set(receivers) <= set(range(num_nodes)) or len(set(receivers)) < len(receivers):
            raise EmulatorError(
                f"receivers are {tuple(receivers)}, allowed are nodes 0 to {num_nodes - 1}, each "
                "once."
            )
        wire = parameters.wire
        self._reference = GeoReference.of(wire) if wire.quantise else None
        self.num_nodes = num_nodes
        nodes = (num_envs, num_nodes)
        sizes = {"E": num_envs, "N": num_nodes, "R": recorded.size, "S": num_nodes - 1}
        sizes |= {"F": len(PayloadField), "DEPTH": DEPTH, "NUM_COUNTS": NUM_COUNTS}
        self._shapes = shapes(Frames, sizes)
        self._numbers = EpisodeNumbers(parameters, "radio.", EmulatorError)
        self._values = self._numbers.draw(num_envs, {})
        listening = np.full(num_nodes, parameters.relay.max_hops > 0)
        listening[recorded] = True
        self.node_clocks = NodeClocks(parameters, num_envs=num_envs, num_nodes=num_nodes)
        self.table = PeerTable(self.node_clocks, recorded)
        loss = parameters.loss
        self._links = (
            MarginLinks(loss, num_envs, num_nodes)
            if isinstance(loss, MarginLoss)
            else DistanceLinks(loss, num_envs, num_nodes)
        )
        self._flight = FlightArrays.of(num_envs)
        self._world = World(
            store=allocate(StoreArrays, sizes),
            mac=MacArrays.of(parameters.mac, num_envs, num_nodes),
            relays=RelayArrays.of(parameters.relay, num_envs, num_nodes),
            links=self._links.arrays,
            table=self.table.arrays,
            counters=allocate(CounterArrays, sizes),
            present=np.ones(nodes, dtype=bool),
            listening=listening,
            draws=np.zeros(padded(num_nodes)),
            log=allocate(AirLog, {"E": num_envs, "LOG": 0}),
        )
        self._episode_keys = np.zeros(num_envs, np.uint64)
        self._node_keys = np.zeros(nodes, np.int64)
        self._delivered_us = np.full(num_envs, LONG_AGO_US)
        self._offered_us = np.full(num_envs, LONG_AGO_US)
        everything = np.arange(num_envs)
        self.reset(everything, fold(0, everything))

    def reset(
        self,
        env_indices: Ints,
        episode_keys: Words,
        *,
        node_keys: Ints | None = None,
        present: Bools | None = None,
        overrides: Mapping[str, Floats] | None = None,
    ) -> None:
        """Begin an episode in the given convoys; the others are not touched.

        Args:
            env_indices: (K,) which convoys.
            episode_keys: (K,) uint64, `fold(seed, env_index, episode)`.
            node_keys: (N,) or (K, N) integers that name the nodes; default: 0, 1, ... (the vehicle
                slots).
            present: (N,) or (K, N) bool, which nodes there are; default: all. Who is absent
                neither hears nor relays nor stands between others.
            overrides: Randomisable parameters of this episode; see `EpisodeNumbers.draw`.

        Raises:
            EmulatorError: An override that the channel does not know, or that cannot be.
        """
        nodes = (len(env_indices), self.num_nodes)
        values = self._numbers.draw(nodes[0], overrides)
        keys = np.arange(self.num_nodes) if node_keys is None else np.asarray(node_keys)
        keys = np.broadcast_to(keys.astype(np.int64), nodes)
        self._world.present[env_indices] = True if present is None else present
        self._episode_keys[env_indices] = episode_keys
        self._node_keys[env_indices] = keys
        for name, drawn in values.items():
            self._values[name][env_indices] = drawn
        self.node_clocks.reset(env_indices, episode_keys, node_keys=keys)
        episodes = Episodes(env_indices, episode_keys, keys, values)
        self._world.mac.reset(episodes)
        self._world.relays.rekey(episodes)
        self._links.reset(episodes)
        self._world.store.reset(env_indices)
        self.clear(env_indices)

    def clear(self, env_indices: Ints) -> None:
        """Switch the receivers of the given convoys off and on again.

        Pending frames, queues, relay buffers, tables and the memory of time are gone, so time may
        start anywhere. Sequence numbers, link states and boot epochs go on, so no draw is repeated.
        """
        world = self._world
        for part in (world.store, world.relays, world.mac, self._links, self.table):
            part.clear(env_indices)
        world.counters.run[env_indices] = 0
        world.log.length[env_indices] = 0
        self._flight.length[env_indices] = 0
        self._delivered_us[env_indices] = LONG_AGO_US
        self._offered_us[env_indices] = LONG_AGO_US

    def admit(self, env: int, node: int, node_key: int) -> None:
        """Let a node that was absent take part from now on, under a key of its own.

        Args:
            env: Convoy.
            node: Which node.
            node_key: Names it: its clock, its links and its draws are those of this key.
        """
        here = np.array([env])
        key = self._episode_keys[here]
        self._node_keys[env, node] = node_key
        self._world.present[env, node] = True
        keys = self._node_keys[here]
        self.node_clocks.reset(here, key, node_keys=keys)
        values = {name: kept[here] for name, kept in self._values.items()}
        episode = Episodes(here, key, keys, values)
        self._world.mac.rekey(episode)
        self._world.relays.rekey(episode)
        self._links.admit(episode, node)

    def transmit(
        self,
        *,
        sending: Bools,
        t_generated_us: Ints,
        timestamp_ms: Ints,
        payload: Floats,
        node_xy_m: Floats,
        now_us: Ints,
    ) -> None:
        """Offer at most one frame per node; nothing becomes visible through it.

        Args:
            sending: (E, N) bool.
            t_generated_us: (E, N) int64, true time of sampling, which is when the node has its
                slot; from the last delivery up to now, and not before the node's last frame.
            timestamp_ms: (E, N) int64, the same in the source's clock. A jump back by more than
                1 s against the newest sent since the source's last start is a new start.
            payload: (E, N, F) float64, indexed by `PayloadField`; what arrives is rounded as the
                message's bytes are, unless the parameters say otherwise.
            node_xy_m: (E, N, 2) float64, where the nodes are now, in truth.
            now_us: (E,) int64, true time, to which the links are moved.

        Raises:
            EmulatorError: A wrong shape, a value that is not finite, or a time out of order.
        """
        world, store = self._world, self._world.store
        frames = Frames(sending, t_generated_us, timestamp_ms, payload, node_xy_m, now_us)
        self._check(frames)
        if self._reference is not None:
            frames = frames._replace(payload=np.array(payload, order="C"))
            quantise(frames.payload, self._reference)
        nodes = (world.present, world.listening, node_xy_m)
        self._links.move(Movement(now_us, sending, store.next_sequence, *nodes))
        accept_frames(frames, store)
        self._offered_us[:] = now_us

    def deliver(self, now_us: Ints) -> PeerTable:
        """Hand over what has arrived by now, in every convoy.

        Args:
            now_us: (E,) int64, true time; it may not run back.

        Returns:
            The channel's own table, up to date.

        Raises:
            EmulatorError: Time ran back.
        """
        _check_order("deliver", now_us, np.maximum(self._delivered_us, self._offered_us))
        done = 0
        while True:
            done = run_events(now_us, self._delivered_us, self._world, self._flight, done)
            if done == now_us.size:
                break
            self._flight = self._flight.doubled()
        self._delivered_us[:] = now_us
        return self.table

    def listen_in(self) -> None:
        """Keep from now on what goes on the air, until `take_frames` is called for it.

        It takes about 80 kB a convoy of nine cars. Where nobody listens in, nothing is kept.
        """
        # Between two deliveries every node has at most one slot, for its own frame and all that it
        # relays, and what its queue still held.
        a_node = 1 + self.num_nodes * DEPTH + QUEUE_CAPACITY
        sizes = {"E": self._delivered_us.size, "LOG": self.num_nodes * a_node}
        self._world = self._world._replace(log=allocate(AirLog, sizes))

    def take_frames(self, env: int) -> AirFrames:
        """Return what has gone on the air in a convoy since the last call, in the order of time.

        Nothing, where `listen_in` was not called.
        """
        log = self._world.log
        kept = log.frames[env, : log.length[env]].copy()
        log.length[env] = 0
        return AirFrames.of(kept)

    def relays_at(self, t_us: Ints) -> Bools:
        """Tell which nodes send on what they have heard, in slots at (E, N) true times in µs."""
        work = np.zeros(t_us.shape, dtype=bool)
        all_work(self._world.relays, t_us, work)
        return work

    def drain_counters(self) -> dict[str, float]:
        """Return what was counted since the last call; see `CounterArrays.drain`."""
        return self._world.counters.drain()

    def _check(self, frames: Frames) -> None:
        """Raise EmulatorError for frames that are not as `transmit` wants them."""
        for name, shape in self._shapes.items():
            array = getattr(frames, name)
            if array.shape != shape:
                raise EmulatorError(f"{name} has shape {array.shape}, allowed is {shape}.")
        latest_us = (self._delivered_us, self._offered_us, self._world.store.generated_us)
        if not are_fine(frames, *latest_us):
            self._complain(frames)

    def _complain(self, frames: Frames) -> None:
        """Raise EmulatorError for frames of the right shape of which not all is as it must be."""
        for name in self._shapes:
            array = getattr(frames, name)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                place = tuple(int(i[0]) for i in np.nonzero(~np.isfinite(array)))
                raise EmulatorError(
                    f"{name}{list(place)} is {array[place]}, allowed are finite numbers: correct "
                    "it where the message is made."
                )
        now_us, t_us = frames.now_us, frames.t_generated_us
        _check_order("transmit", now_us, self._offered_us)
        earliest_us = np.maximum(self._delivered_us[:, None], self._world.store.generated_us)
        wrong = frames.sending & ((t_us < earliest_us) | (t_us > now_us[:, None]))
        if wrong.any():
            env, node = (int(i[0]) for i in np.nonzero(wrong))
            raise EmulatorError(
                f"node {node} of convoy {env} transmits at {t_us[env, node] / 1000:g} ms, allowed "
                f"is from {earliest_us[env, node] / 1000:g} ms (the last delivery, or its own last "
                f"frame) to {now_us[env] / 1000:g} ms (now): transmit first, then deliver."
            )


def _check_order(call: str, now_us: Ints, latest_us: Ints) -> None:
    """Raise EmulatorError where a call is for a time before the latest one."""
    if np.count_nonzero(now_us < latest_us):
        env = int(np.argmax(now_us < latest_us))
        raise EmulatorError(
            f"time ran back in convoy {env}: {call} was called for {now_us[env] / 1000:g} ms "
            f"after {latest_us[env] / 1000:g} ms, allowed is the same time or later: "
            "call reset or clear before a new beginning."
        )
