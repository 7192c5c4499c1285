/*
 * In which form a network whose convolutions are oneDNN's, in few bits, hands images on from
 * layer to layer: channels last where all who read them can take that, so that nothing has to
 * bring them into another form and back.
 */
#ifndef KD_FORMS_H
#define KD_FORMS_H

#include "cpu/convolution_code.h"

#include "darknet.h"

/* A layer that convolution.h computes */
int is_convolution(layer l);

/* A [shortcut] of two equal shapes */
int is_sum(layer l);

/* 1 for a convolution that can take its images in int8, with forms as find_forms leaves them.
 */
int takes_bytes(const network *net, const image_form *forms, int i);

/*
 * forms[net->n], of each layer's output: FORM_LAST of a convolution, or of what passes on such
 * (a sum, last.h), if none but these and [avgpool] read it; else FORM_PLAIN. What a convolution
 * hands on to nothing but convolutions is FORM_NARROW where they multiply BFLOAT16, and
 * FORM_BYTE where all of them take INT8.
 */
void find_forms(const network *net, arithmetic how, image_form *forms);

#endif
