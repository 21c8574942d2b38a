/* Target: port_socket.c, port_packet.c, port_ip.c, port_ip6.c: recvmmsg and sendmmsg with their control
 *         messages, restored VLAN tags and IPv6 headers, trains, refusals.
 * Trust:  hostile packets and guest's marks; the kernel around them says whatever a kernel may say.
 * Oracle: no packet of a batch is lost or doubled, what is handed over is inside its buffer, the books
 *         balance, what is sent is all ours. */
#include "fake_kernel.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixtures[3];
    static const uint32_t kinds[3] = {VDP_PORT_PACKET, VDP_PORT_IP, VDP_PORT_IP6};
    struct input in = {bytes, size};
    struct vdp_packet_list received = {0};

    fake.in = &in;
    if (fixtures[0] == NULL) {
        fixtures[0] = fake_port(&vdp_port_packet_ops, VDP_PORT_PACKET, VDP_L2, 63); /* no ring */
        fixtures[1] = fake_port(&vdp_port_ip_ops, VDP_PORT_IP, VDP_L3, 0);
        fixtures[2] = fake_port(&vdp_port_ip6_ops, VDP_PORT_IP6, VDP_L3, 0);
    }
    uint8_t choice = take8(&in);
    struct fixture *fixture = fixtures[choice % 3];
    fake.type = kinds[choice % 3];
    fake.given = 0;
    if (choice % 3 == 0)
        fixture->ports[TARGET].config.features = choice & 64 ? 62 : 63;
    uint32_t count = 0;
    for (unsigned i = 0; i < 3; i++)
        count += fake_receive(fixture, &received);
    LAW(count + fixture->queues[TARGET].stats.rx_packets == fake.given);
    LAW(fixture->queues[TARGET].stats.rx_packets == fixture->queues[TARGET].stats.dropped);
    fake_send(fixture, &received);
    return 0;
}
