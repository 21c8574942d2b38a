/* Target: ring.c and port_packet.c: frames out of a PACKET_RX_RING in shared memory.
 * Trust:  hostile packets and guest's marks; kernel: offsets and lengths in the ring's headers.
 * Oracle: as socket.c; frames are taken in the order in which they were put there, each once. */
#include "fake_kernel.h"

enum { FRAME_SIZE = 2048, MAC_AT = 80 + 10, PUT_MOST = 12 };

static uint32_t put_next; /* where the kernel goes on */

static void put_frame(struct input *in)
{
    static struct frame frame;
    uint8_t *at = fake.ring + (size_t)put_next * FRAME_SIZE;
    struct tpacket2_hdr *header = (struct tpacket2_hdr *)(void *)at;
    uint8_t choice = take8(in);
    if (header->tp_status & TP_STATUS_USER)
        return; /* full */
    frame_any(in, &frame);
    uint32_t room = FRAME_SIZE - MAC_AT, length = frame.length < room ? frame.length : room;
    memset(header, 0, sizeof *header);
    header->tp_mac = MAC_AT;
    header->tp_net = MAC_AT + 14;
    header->tp_len = frame.length;
    header->tp_snaplen = length;
    header->tp_vlan_tci = take8(in);
    header->tp_vlan_tpid = 0x88a8;
    memset(at + MAC_AT - sizeof(struct virtio_net_hdr), 0, sizeof(struct virtio_net_hdr));
    if (choice & 1)
        take_bytes(in, at + MAC_AT - sizeof(struct virtio_net_hdr), sizeof(struct virtio_net_hdr));
    memcpy(at + MAC_AT, frame.bytes, length);
    header->tp_status = TP_STATUS_USER | (choice & 2 ? TP_STATUS_VLAN_VALID : 0u) |
                        (choice & 4 ? TP_STATUS_VLAN_TPID_VALID : 0u) | (choice >= 224 ? TP_STATUS_COPY : 0u) |
                        (choice & 8 ? TP_STATUS_CSUMNOTREADY : 0u);
    put_next = (put_next + 1) % (FAKE_RING / FRAME_SIZE);
}

static bool all_taken(void)
{
    for (uint32_t back = 1; back <= PUT_MOST; back++) {
        uint32_t at = (put_next + FAKE_RING / FRAME_SIZE - back) % (FAKE_RING / FRAME_SIZE);
        const struct tpacket2_hdr *header =
            (const struct tpacket2_hdr *)(void *)(fake.ring + (size_t)at * FRAME_SIZE);
        if (header->tp_status & TP_STATUS_USER)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct fixture *fixture;
    struct input in = {bytes, size};
    struct vdp_packet_list received = {0};

    fake.in = &in;
    if (fixture == NULL) {
        fake.ring = aligned_alloc(4096, FAKE_RING);
        LAW(fake.ring != NULL);
        memset(fake.ring, 0, FAKE_RING);
        fixture = fake_port(&vdp_port_packet_ops, VDP_PORT_PACKET, VDP_L2, 63);
        LAW(vdp_port_packet_ops.ring(&fixture->ports[TARGET]) == FAKE_RING / FRAME_SIZE);
    }
    fake.given = 0;
    fixture->ports[TARGET].config.features = take8(&in) & 64 ? 62 : 63;
    for (uint32_t count = take8(&in) % (PUT_MOST + 1u); count > 0; count--)
        put_frame(&in);
    for (unsigned i = 0; i < 6; i++)
        (void)fake_receive(fixture, &received);
    fake_send(fixture, &received);
    in.left = 0; /* no more errors: what they kept back comes now */
    for (unsigned i = 0; i <= PUT_MOST && !all_taken(); i++) {
        (void)fake_receive(fixture, &received);
        fake_send(fixture, &received);
    }
    LAW(all_taken());
    return 0;
}
