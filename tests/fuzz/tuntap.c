/* Target: port_tap.c, refusal.c: readv and writev of TAP and TUN queues, super-packets that are refused.
 * Trust:  guest: frames and their virtio_net_hdr come from whoever is behind the device.
 * Oracle: as socket.c. */
#include "fake_kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixtures[2];
    struct input in = {bytes, size};
    struct vdp_packet_list received = {0};

    fake.in = &in;
    if (fixtures[0] == NULL) {
        fixtures[0] = fake_port(&vdp_port_tap_ops, VDP_PORT_TAP, VDP_L2, 31);
        fixtures[1] = fake_port(&vdp_port_tun_ops, VDP_PORT_TUN, VDP_L3, 31);
    }
    uint8_t choice = take8(&in);
    struct fixture *fixture = fixtures[choice & 1];
    fixture->ports[TARGET].config.features = choice & 64 ? 30 : 31;
    fake.given = 0;
    uint32_t count = fake_receive(fixture, &received) + fake_receive(fixture, &received);
    LAW(count + fixture->queues[TARGET].stats.rx_packets == fake.given);
    fake_send(fixture, &received);
    return 0;
}
